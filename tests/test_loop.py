"""The training loop compared step by step with a plain loop, and the settings of classifier modules."""

import sys

import numpy as np
import pytest
import torch
from small_training import SHAPE, alike, convolutional, people, train

from bids_app import catalogue
from bids_app.training import augment, loop
from bids_app.training.device import set_memory_format, training_mode
from bids_app.training.sampling import draw_epoch, epoch_length, train_validation_split
from bids_app.training.training_config import TrainingConfig, config_from_module


def plainly(network, x, y, *, epochs, rate, decay, size, seed):
    """AdamW, a cosine, class weights and clipping, written out as the reference for the loop."""
    network.train()
    weights = torch.tensor(len(y) / (2 * np.bincount(y)), dtype=torch.float32)
    parts = -(-len(y) // size)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=epochs * parts)
    order, losses = np.random.default_rng(seed), []
    for _ in range(epochs):
        told = 0.0
        for rows in np.array_split(order.permutation(len(y)), parts):
            each = torch.nn.functional.cross_entropy(
                network(torch.from_numpy(x[rows])), torch.from_numpy(y[rows]), weight=weights, reduction="none"
            )
            optimiser.zero_grad()
            each.mean().backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            cosine.step()
            told += each.mean().item() * len(rows)
        losses.append(told / len(y))
    return losses


class TestDefaults:
    def test_cnn3d_training_is_bit_identical_to_a_plain_loop(self):
        part = catalogue.load("classifiers", "cnn3d")
        y = np.arange(17) % 3 % 2
        x = np.random.default_rng(0).standard_normal((17, 2, 12, 13, 14), dtype=np.float32)
        ours, plain = (part.build(2, 2, x.shape[2:], voxel_mm=(4.0,) * 3, seed=3) for _ in range(2))
        history = loop.train(
            ours, lambda rows: x[rows], y, config_from_module(part, {"epochs": 3}), seed=5, device="cpu"
        )
        rates = {"rate": part.LEARNING_RATE, "decay": part.WEIGHT_DECAY, "size": part.BATCH_SIZE}
        assert history == {"loss": plainly(plain, x, y, epochs=3, seed=5, **rates)}
        assert alike(ours, plain)

    def test_the_loss_falls_and_the_network_learns(self):
        x, y = people(20)
        network = convolutional()
        losses = train(network, x, y, epochs=40, learning_rate=0.02)["loss"]
        assert len(losses) == 40
        assert losses[-1] < 0.3 * losses[0]
        assert (network(torch.from_numpy(x)).argmax(dim=1).numpy() == y).all()
        assert not network.training

    def test_every_sample_is_seen_once_per_epoch_and_never_in_a_batch_of_one(self):
        seen = []

        def batch(rows):
            seen.append(rows.tolist())
            return np.ones((len(rows), 1, *SHAPE), np.float32)

        train(convolutional(), None, np.arange(17) % 2, batch=batch, epochs=2)
        assert sorted(row for rows in seen[:3] for row in rows) == list(range(17))
        assert min(len(rows) for rows in seen) > 1
        assert seen[:3] != seen[3:]


class TestTrainingConfig:
    def test_every_registered_network_has_a_training_config(self):
        parts = [catalogue.load("classifiers", name) for name in catalogue.names("classifiers")]
        networks = [part for part in parts if hasattr(part, "EPOCHS")]
        assert all(config_from_module(part).epochs == part.EPOCHS for part in networks)
        assert {part.__name__.rpartition(".")[2] for part in networks} >= {"cnn3d", "vit_b16"}

    def test_module_constants_override_the_defaults(self, tmp_path, monkeypatch):
        (tmp_path / "stated.py").write_text('EPOCHS = 7\nOPTIMISER = "adam"\nPATIENCE = 3\nINSTANCES = True\n')
        monkeypatch.syspath_prepend(tmp_path)
        stated = config_from_module(__import__("stated"), {"epochs": 2, "size": 64})
        assert stated == TrainingConfig(epochs=2, optimiser="adam", patience=3, instances=True)

    @pytest.mark.parametrize("wrong", [{"optimiser": "sgd"}, {"schedule": "step"}, {"accumulate": 0}, {"patience": 0}])
    def test_invalid_settings_are_refused(self, wrong):
        with pytest.raises(ValueError, match=next(iter(wrong)).upper()):
            TrainingConfig(epochs=1, **wrong)

    @pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
    def test_without_a_schedule_the_learning_rate_is_constant(self, name, kind):
        x, y = people(4)
        ours, plain = convolutional(), convolutional()
        train(ours, x, y, epochs=5, optimiser=name, schedule="none", weight_decay=0.1)
        optimiser = kind(plain.parameters(), lr=1e-3, weight_decay=0.1)
        order = np.random.default_rng(0)
        for _ in range(5):
            rows = order.permutation(4)
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(plain(torch.from_numpy(x[rows])), torch.from_numpy(y[rows])).backward()
            torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
            optimiser.step()
        for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


class TestAccumulation:
    @pytest.mark.parametrize("accumulate", [2, 3, 8])
    def test_accumulated_gradients_equal_those_of_the_whole_batch(self, accumulate):
        x, y = people(8, effect=0.3)
        whole, cut = convolutional(), convolutional()
        parts = []

        def batch(rows):
            parts.append(len(rows))
            return x[rows]

        history = train(whole, x, y, epochs=1, learning_rate=0.1)
        assert history["loss"] == pytest.approx(
            train(cut, x, y, batch=batch, epochs=1, learning_rate=0.1, accumulate=accumulate)["loss"], rel=1e-6
        )
        assert parts == {2: [4, 4], 3: [3, 3, 2], 8: [1] * 8}[accumulate]
        # Adam's first step has the length of the rate whatever the gradient, so the gradients are looked at
        for one, other in zip(whole.parameters(), cut.parameters(), strict=True):
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-7)


class TestClasses:
    @pytest.mark.parametrize("oversample", [False, True])
    def test_unbalanced_classes_have_equal_weight(self, oversample):
        # with nothing to be learnt and classes of 18 and 2, the answer is half and half
        y, x = np.array([0] * 18 + [1] * 2), np.zeros((20, 1, *SHAPE), np.float32)
        network = convolutional()
        train(network, x, y, epochs=60, learning_rate=0.05, batch_size=36, oversample=oversample)
        share = torch.softmax(network(torch.from_numpy(x[:1])), dim=1)[0, 1].item()
        assert share == pytest.approx(0.5, abs=0.05)

    def test_oversampling_balances_classes_and_cycles_through_all_samples(self):
        y, rows = np.array([0] * 11 + [1] * 4 + [2] * 5 + [0, 1, 2]), np.arange(20)
        drawn = draw_epoch(rows, y, np.random.default_rng(0), oversample=True)
        assert len(drawn) == epoch_length(rows, y, oversample=True) == 33
        assert np.bincount(y[drawn]).tolist() == [11, 11, 11]
        seen = np.bincount(drawn, minlength=20)
        assert set(seen[:11]) == {1}
        assert set(seen[11:15]) == {2, 3}
        assert set(seen[15:]) == {2, 3}


class Sliced(torch.nn.Module):
    """A participant is three slices; one linear layer a slice."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(72, 2)

    def instances(self, x):
        return self.linear(x.reshape(len(x), 3, 72))

    def forward(self, x):
        return self.instances(x).mean(dim=1)


class TestInstances:
    def test_each_slice_is_trained_against_the_class_of_the_participant(self):
        x, y = people(6, effect=0.3)
        sliced, single = Sliced(), Sliced()
        history = train(sliced, x, y, epochs=1, batch_size=6, instances=True)
        # the same as treating each slice as a separate participant
        torch.nn.functional.cross_entropy(
            single.linear(torch.from_numpy(x.reshape(18, 72))), torch.from_numpy(y.repeat(3))
        ).backward()
        torch.nn.utils.clip_grad_norm_(single.parameters(), 1.0)
        torch.testing.assert_close(sliced.linear.weight.grad, single.linear.weight.grad)
        assert history != train(Sliced(), x, y, epochs=1, batch_size=6)


class TestStopping:
    def test_validation_samples_are_whole_groups_of_every_class_and_never_trained_on(self):
        y = np.array([0] * 24 + [1] * 12)
        groups = [f"family-{row // 2}" for row in range(36)]
        rows, aside = train_validation_split(y, groups, share=0.25, seed=1)
        assert sorted([*rows, *aside]) == list(range(36))
        assert not {groups[row] for row in rows} & {groups[row] for row in aside}
        assert np.bincount(y[aside]).tolist() == [6, 3] or np.bincount(y[aside]).tolist() in ([6, 4], [6, 2])
        seen = {True: set(), False: set()}
        network = convolutional()

        def batch(few):
            seen[network.training] |= set(few.tolist())
            return np.ones((len(few), 1, *SHAPE), np.float32)

        train(network, None, y, batch=batch, groups=groups, seed=1, patience=2, validation=0.25, oversample=True)
        assert seen == {True: set(rows.tolist()), False: set(aside.tolist())}

    def test_training_stops_without_improvement_and_keeps_the_best_weights(self):
        x, y = people(40, effect=0.0)
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(216, 2))
        history = train(network, x, y, epochs=60, learning_rate=0.01, patience=4)
        best = int(np.argmin(history["validation"]))
        assert len(history["loss"]) == len(history["validation"]) == best + 5 < 60
        with torch.no_grad():
            _, aside = train_validation_split(y, None, share=0.2, seed=0)
            each = torch.nn.functional.cross_entropy(
                network(torch.from_numpy(x[aside])), torch.from_numpy(y[aside]), reduction="none"
            )
        assert each.mean().item() == pytest.approx(history["validation"][best], rel=1e-5)

    def test_without_patience_there_is_no_validation_set(self):
        x, y = people(8)
        assert list(train(convolutional(), x, y)) == ["loss"]


class TestAugmentation:
    def test_training_batches_are_augmented_afresh_and_validation_samples_never(self, monkeypatch):
        seen = {True: [], False: []}

        class Seen(torch.nn.Sequential):
            def forward(self, x):
                seen[self.training].append(float(x.detach().mean()))
                return super().forward(x)

        def brighter(x, noise):
            return x + 1 + torch.rand(1, generator=noise)

        monkeypatch.setattr(augment, "load", {"brighter": brighter}.get)
        x, y = np.zeros((10, 1, *SHAPE), np.float32), np.arange(10) % 2
        train(Seen(torch.nn.Flatten(), torch.nn.Linear(216, 2)), x, y, augment="brighter", patience=3)
        assert len(set(seen[True])) == 3
        assert min(seen[True]) > 1
        assert set(seen[False]) == {0.0}

    @pytest.mark.parametrize("name", list(augment.KINDS))
    def test_monai_augmentation_is_small_reproducible_and_equal_across_channels(self, name):
        ball = (np.square(np.indices((20, 20, 20)) - 9.5).sum(axis=0) < 36).astype(np.float32)
        ball[4:7, 9:11, 9:11] = 3  # left of the middle
        x = torch.from_numpy(np.stack([np.stack([ball, 2 * ball])] * 12))
        change = augment.load(name)
        first, again, other = (change(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
        assert type(first) is torch.Tensor
        assert first.shape == x.shape
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        torch.testing.assert_close(first[:, 1], 2 * first[:, 0])
        overlap = ((first[:, 0] > 0.5) & (x[:, 0] > 0.5)).sum(dim=(1, 2, 3)) / (x[0, 0] > 0.5).sum()
        assert overlap.min() > 0.6
        assert not any(torch.equal(one, x[0]) for one in first)
        brightest = first[:, 0].amax(dim=(2, 3)).argmax(dim=1)
        assert set((brightest > 9).tolist()) == ({False, True} if name == "affine_flip" else {False})

    def test_monai_is_not_imported_without_augmentation(self, monkeypatch):
        for name in [name for name in sys.modules if name.partition(".")[0] == "monai"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "monai", None)  # importing it raises
        x, y = people(4)
        assert train(convolutional(), x, y)
        with pytest.raises(ImportError):
            train(convolutional(), x, y, augment="affine")


class TestMemoryFormat:
    def test_channels_last_changes_the_layout_but_not_the_output(self):
        network, x = convolutional(), torch.from_numpy(people(3)[0])
        before = network(x)
        set_memory_format(network, images=torch.channels_last, volumes=torch.channels_last_3d)
        assert network[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
        torch.testing.assert_close(network(x), before)
        with training_mode(network, "cpu"):
            assert network.training
        assert not network.training
        assert network[0].weight.is_contiguous()
