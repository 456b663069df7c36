# docker build -t pellucid .            (--build-arg BASE=debian:bookworm-slim, --build-arg TORCH=cpu)
ARG BASE=debian:trixie-slim

FROM ${BASE} AS dependencies
# cuda: the locked torch, which runs on processors as well. cpu: the build without CUDA, from PyTorch's own index.
ARG TORCH=cuda
ENV UV_SYSTEM_CERTS=1 UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1 UV_LINK_MODE=copy VIRTUAL_ENV=/opt/pellucid
# Debian's archive keeps one version of a package for a suite: to pin it is to fail later
# hadolint ignore=DL3008,DL3009
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --quiet --no-cache-dir "uv>=0.9,<1"
COPY pyproject.toml requirements.lock /src/
WORKDIR /src
# Only what runs is installed, at the versions of the lock; each file is checked by the lock's hashes.
# The lock has no hashes of the CPU build: that one comes first, by version, and then stands as it is. Static libraries
# and headers serve compilers, and none is here.
RUN /opt/uv/bin/uv venv --quiet "$VIRTUAL_ENV" \
 && case "$TORCH" in \
      cuda) ;; \
      cpu) grep -oE '^torch(vision)?==[0-9.]+' requirements.lock > torch.txt \
        && /opt/uv/bin/uv pip install --quiet --compile-bytecode --torch-backend cpu -r torch.txt ;; \
      *) echo "TORCH is cuda or cpu, not $TORCH" >&2; exit 64 ;; \
    esac \
 && /opt/uv/bin/uv pip install --quiet --compile-bytecode -c requirements.lock -r pyproject.toml \
 && find "$VIRTUAL_ENV" -type f \( -name '*.a' -o -path '*/include/*' \) -delete
# A template with a head, for whole heads without a mask. Without a network the image does without, and says so.
RUN mkdir /opt/templateflow \
 && { TEMPLATEFLOW_HOME=/opt/templateflow timeout 300 "$VIRTUAL_ENV/bin/python" -c "from templateflow.api import get; get('MNI152NLin2009cAsym', resolution=1, desc=None, suffix='T1w'); get('MNI152NLin2009cAsym', resolution=1, desc='brain', suffix='mask')" > /dev/null 2>&1 || true; } \
 && find /opt/templateflow ! -type d ! -name 'tpl-MNI152NLin2009cAsym_res-01_*' -delete \
 && find /opt/templateflow -size 0 -delete \
 && { [ -n "$(find /opt/templateflow -name '*_desc-brain_mask.nii.gz')" ] \
      || echo "NOT IN THIS IMAGE: TemplateFlow's MNI152NLin2009cAsym with a head (no network): whole heads need --brain-mask, or that template mounted at /opt/templateflow" > /opt/templateflow/MISSING; } \
 && { cat /opt/templateflow/MISSING 2> /dev/null || true; }
# Anybody may read it. Only what lacks that is touched: a layer holds what was touched anew.
RUN find "$VIRTUAL_ENV" /opt/templateflow \( ! -perm -a+r -o -type d ! -perm -a+x \) -exec chmod a+rX {} +

FROM dependencies AS app
COPY . /src
WORKDIR /opt/pellucid
# Numba's cache knows its source by size and second. It serves the kind of processor that the image is built on.
RUN /opt/uv/bin/uv pip install --quiet --no-deps /src \
 && find "$VIRTUAL_ENV"/lib/python3*/site-packages/bids_app -name '*.py' -exec touch -d @1600000000 {} + \
 && "$VIRTUAL_ENV/bin/python" -m compileall -q "$VIRTUAL_ENV"/lib/python3*/site-packages/bids_app \
 && NUMBA_CACHE_DIR="$VIRTUAL_ENV/numba" "$VIRTUAL_ENV/bin/python" -m bids_app.jit \
 && "$VIRTUAL_ENV/bin/python" -c "from bids_app import __version__; print(__version__)" > /version \
 && mkdir /app \
 && cp -a --parents bin/pellucid* lib/python3*/site-packages/bids_app lib/python3*/site-packages/pellucid* numba /app && chmod -R a+rX /app

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="pellucid" \
      org.opencontainers.image.description="A BIDS App that classifies people by diagnosis from MRI, shows where the evidence lies, and says whether to believe it" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.authors="The Pellucid developers"
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache /var/log/*
# the large layer first: it is the same for every version with the same lock
COPY --from=dependencies /opt/pellucid /opt/pellucid
COPY --from=dependencies /opt/templateflow /opt/templateflow
COPY --from=app /app /opt/pellucid
COPY --from=app /version /version
# No home: what libraries keep goes under the work folder, whoever runs this.
ENV PATH=/opt/pellucid/bin:/usr/local/bin:/usr/bin:/bin HOME=/nonexistent LANG=C.UTF-8 PYTHONNOUSERSITE=1 \
    TEMPLATEFLOW_HOME=/opt/templateflow PELLUCID_NUMBA_CACHE=/opt/pellucid/numba \
    PELLUCID_IMAGE="pellucid ${VERSION} ${REVISION}"
ENTRYPOINT ["pellucid"]
