"""Connections are the kernels that a channel is computed with and read by, however the network is written."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.errors import UsageError
from convscope.methods.channels.connections import Connection, Connections, find_connections
from convscope.models.resnet import ResNet
from convscope.types import Network


def network(model: nn.Module, *, size: tuple[int, int] = (16, 16), channels: int = 3) -> Network:
    return Network(model, (0.5,) * channels, (0.25,) * channels, size, (), "tiny")


def drawn(model: nn.Module) -> nn.Module:
    """The same model with batch norms that scale, shift and negate."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.data.normal_()
            module.bias.data.normal_(std=3)  # some ReLUs are shut for almost all inputs
    return model


def small_resnet() -> ResNet:
    torch.manual_seed(0)
    model = ResNet(class_count=3, widths=(6, 8), strides=(1, 2), blocks=2, stem_kernel=3)
    return drawn(model)


def scale(norm: nn.BatchNorm2d) -> Tensor:
    return (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()


def told(connections: tuple[Connection, ...]) -> dict[tuple[str | None, int], tuple[float, float]]:
    assert len({(each.layer, each.channel, each.weights) for each in connections}) == len(connections)
    strengths = [each.strength for each in connections]
    assert strengths == sorted(strengths, reverse=True)
    return {(each.layer, each.channel): (each.strength, each.balance) for each in connections}


def kernels(layer: str | None, weights: Tensor) -> dict[tuple[str | None, int], tuple[float, float]]:
    """What is expected of kernels (K, positions) between one channel and each of K."""
    weights = weights.detach().flatten(1).double()
    balance = weights.sum(1) / weights.abs().sum(1)
    return {(layer, index): (weights[index].norm().item(), balance[index].item()) for index in range(len(weights))}


def assert_are(found: tuple[Connection, ...], expected: dict[tuple[str | None, int], tuple[float, float]]) -> None:
    got = told(found)
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        assert got[key] == pytest.approx(value, rel=1e-5, abs=1e-7), key


def every(net: Network, layer: str, channel: int) -> Connections:
    return find_connections(net, layer, channel, count=10**6)


def test_a_convolution_in_a_block_is_joined_through_its_batch_norm():
    model = small_resnet()
    found = every(network(model), "layer1.0.conv1", 4)
    bn1, bn2 = scale(model.layer1[0].bn1), scale(model.layer1[0].bn2)
    assert found.writers == ("layer1.0.conv1",)
    assert_are(found.incoming, kernels("relu", model.layer1[0].conv1.weight[4] * bn1[4]))
    outgoing = model.layer1[0].conv2.weight[:, 4] * bn1[4] * bn2.view(-1, 1, 1)
    assert found.readers == ("layer1.0.conv2",)
    assert_are(found.outgoing, kernels("layer1.0.conv2", outgoing))
    assert found.notes == ()


def test_a_residual_sum_is_written_by_all_its_branches_and_read_by_all_that_follow():
    model = small_resnet()
    found = every(network(model), "layer1.0", 2)
    first, second = model.layer1
    assert set(found.writers) == {"conv1", "layer1.0.conv2"}
    incoming = kernels("layer1.0.relu1", first.conv2.weight[2] * scale(first.bn2)[2])
    incoming |= kernels(None, model.conv1.weight[2] * scale(model.bn1)[2])
    assert_are(found.incoming, incoming)
    assert found.notes == ("conv1 reads the image: its incoming channels are the image's",)

    down = model.layer2[0]
    assert set(found.readers) == {"layer1.1.conv1", "layer2.0.conv1", "layer2.0.downsample.0"}
    outgoing = kernels("layer1.1.conv1", second.conv1.weight[:, 2] * scale(second.bn1).view(-1, 1, 1))
    outgoing |= kernels("layer2.0.conv1", down.conv1.weight[:, 2] * scale(down.bn1).view(-1, 1, 1))
    short = down.downsample[0].weight[:, 2] * scale(down.downsample[1]).view(-1, 1, 1)
    assert_are(found.outgoing, outgoing | kernels("layer2.0.downsample.0", short))


def test_both_branches_of_a_block_that_shrinks_write_it():
    found = every(network(small_resnet()), "layer2.0", 0)
    assert set(found.writers) == {"layer2.0.conv2", "layer2.0.downsample.0"}
    assert {each.layer for each in found.incoming} == {"layer2.0.relu1", "layer1"}  # the stage, not its last block


def test_the_head_reads_the_mean_over_positions():
    model = small_resnet()
    found = every(network(model), "layer2", 5)
    assert found.readers == ("fc",)
    assert_are(found.outgoing, kernels("fc", model.fc.weight[:, 5:6]))
    head = every(network(model), "fc", 1)
    assert_are(head.incoming, kernels("avgpool", model.fc.weight[1][:, None]))
    assert head.outgoing == ()
    assert head.notes == ("no convolution or linear layer was seen to read this channel",)


def test_incoming_and_outgoing_tell_the_same():
    net = network(small_resnet())
    forth = {each.channel: each for each in every(net, "layer1", 3).outgoing if each.weights == "layer2.0.conv1"}
    for channel in (0, 5):
        [back] = [each for each in every(net, "layer2.0.conv1", channel).incoming if each.channel == 3]
        assert back.layer == "layer1"
        assert (back.strength, back.balance) == pytest.approx((forth[channel].strength, forth[channel].balance))


class Written(nn.Module):
    """What modules do elsewhere, written with functions, in place, and with channels that change their numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(10)
        self.third = nn.Conv2d(10, 4, 3, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(self.first(x))
        x = torch.cat([F.relu6(self.second(x)), x], 1)
        return self.third(F.max_pool2d(self.norm(x).clamp_(min=0), 2))


def test_concatenated_channels_are_followed_to_their_new_numbers_and_through_groups():
    model = drawn(Written())
    found = every(network(model), "first", 1)
    assert set(found.readers) == {"second", "third"}
    outgoing = kernels("second", model.second.weight[:, 1])
    third = model.third.weight[2:, 7 - 5] * scale(model.norm)[7]  # 6 of the second come first; the second group
    thirds = {("third", channel + 2): value for (_, channel), value in kernels("third", third).items()}
    assert_are(found.outgoing, outgoing | thirds)

    grouped = every(network(model), "third", 3)
    assert grouped.writers == ("third",)
    expected = {(None, channel + 5): value for (_, channel), value in kernels(None, model.third.weight[3]).items()}
    assert_are(grouped.incoming, expected)
    assert any("third reads what no layer gives as it stands" in note for note in grouped.notes)

    merged = every(network(model), "norm", 8)
    assert merged.writers == ("first",)
    assert_are(merged.incoming, kernels(None, model.first.weight[2] * scale(model.norm)[8]))
    second = every(network(model), "second", 0)
    third = model.third.weight[:2, 0] * scale(model.norm)[0]
    assert_are(second.outgoing, kernels("third", third))
    assert second.incoming[0].layer is None, "a ReLU in place has changed what the layer gave"


def test_a_linear_layer_that_reads_maps_counts_all_their_positions():
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout()),
        *(nn.Linear(4 * 49, 5), nn.ReLU(), nn.Linear(5, 2)),
    )
    found = every(network(model), "0", 3)
    assert_are(found.outgoing, kernels("5", model[5].weight.view(5, 4, 49)[:, 3]))
    assert_are(every(network(model), "5", 1).incoming, kernels("2", model[5].weight[1].view(4, 49)))
    assert_are(every(network(model), "5", 1).outgoing, kernels("7", model[7].weight[:, 1:2]))


def test_channels_last_and_depthwise():
    torch.manual_seed(0)

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.deep = nn.Conv2d(3, 4, 2, 2), nn.Conv2d(4, 4, 3, padding=1, groups=4)
            self.wide, self.back = nn.Linear(4, 7), nn.Linear(7, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            y = self.deep(x).permute(0, 2, 3, 1)
            return x + self.back(F.gelu(self.wide(y))).permute(0, 3, 1, 2)

    model = Last()
    net = network(model)
    stem = every(net, "stem", 2)
    assert_are(stem.outgoing, {("deep", 2): kernels("deep", model.deep.weight[2])[("deep", 0)]})
    assert_are(every(net, "deep", 2).outgoing, kernels("wide", model.wide.weight[:, 2:3]))
    gelu = every(net, "wide", 6).outgoing
    assert [each.channel for each in gelu] == [each.channel for each in sorted(gelu, key=lambda each: -each.strength)]
    size = (
        np.array([each.strength for each in gelu])
        / model.back.weight[[each.channel for each in gelu], 6].abs().tolist()
    )
    np.testing.assert_allclose(size, size[0], rtol=1e-5)  # the slope of the one GELU


def test_in_place_networks_of_others():
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    model = drawn(torchvision.models.resnet18(num_classes=4))
    net = network(model, size=(32, 32))
    block = find_connections(net, "layer2.1", 7)
    assert set(block.writers) == {"layer2.0.conv2", "layer2.0.downsample.0", "layer2.1.conv2"}
    assert set(block.readers) == {"layer3.0.conv1", "layer3.0.downsample.0"}
    assert len(block.incoming) == len(block.outgoing) == 8
    conv = every(net, "layer2.1.conv1", 7)
    assert_are(conv.incoming, kernels("layer2.0", model.layer2[1].conv1.weight[7] * scale(model.layer2[1].bn1)[7]))

    fire = torchvision.models.squeezenet1_1(num_classes=4)
    found = every(network(fire, size=(32, 32)), "features.3", 70)  # 64 of the one convolution, then of the other
    assert found.writers == ("features.3.expand3x3",)
    assert_are(found.incoming, kernels("features.3.squeeze_activation", fire.features[3].expand3x3.weight[6]))
    assert_are(found.outgoing, kernels("features.4.squeeze", fire.features[4].squeeze.weight[:, 70]))


def test_what_cannot_be_told_is_said():
    torch.manual_seed(0)
    net = network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 2, 3)))
    found = every(net, "1", 0)
    assert found.outgoing == ()
    assert found.notes[0] == "2 is joined to this channel, but the weights of ConvTranspose2d are not read"
    mixed = every(network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(1, 4), nn.Conv2d(4, 2, 1))), "0", 3)
    assert "2 reads the channel through 4 of its inputs" in mixed.notes
    dead = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    dead[1].weight.data[2] = 0
    assert "no convolution or linear layer was seen to read this channel" in every(network(dead), "0", 2).notes
    assert every(network(dead), "0", 1).notes == ("0 reads the image: its incoming channels are the image's",)


def test_any_number_of_colours_and_sizes_leaves_the_model_as_found():
    model = drawn(nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 3)))
    model.train()
    model[1].eval()
    before = [module.training for module in model.modules()]
    found = find_connections(network(model, size=(8, 20), channels=1), "0", 0)
    assert [each.channel for each in found.incoming] == [0]
    assert [module.training for module in model.modules()] == before
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_mistakes_are_told():
    net = network(small_resnet())
    with pytest.raises(UsageError, match="no channel 6 in conv1; allowed: 0 to 5"):
        find_connections(net, "conv1", 6)
    with pytest.raises(UsageError, match="count 0; allowed: 1 or more"):
        find_connections(net, "conv1", 0, count=0)
    with pytest.raises(UsageError, match='no layer "conv9"'):
        find_connections(net, "conv9", 0)
