"""Convolutions of small maps: the same outputs and gradients as torch's own, for every shape near the border."""

import itertools

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from convscope.models import build_model
from convscope.training import small_maps
from convscope.training.small_maps import SmallMaps, met_taps, place


def both_ways(convolution, size, dtype=torch.float64, count=2):
    """Output, gradient of the input and of the weight, by torch and by SmallMaps."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, convolution.in_channels, *size, generator=generator, dtype=dtype)
    images = images.to(memory_format=torch.channels_last)
    found = []
    for way in (nn.Identity(), convolution):  # an identity has no convolution to change
        inputs = images.clone().requires_grad_()
        convolution.zero_grad()
        with SmallMaps(way):
            outputs = convolution(inputs)
        signal = torch.rand(outputs.shape, generator=torch.Generator().manual_seed(2), dtype=dtype)
        outputs.backward(signal.to(outputs.dtype))
        found.append((outputs.detach(), inputs.grad, *(p.grad.clone() for p in convolution.parameters())))
    return found


@pytest.fixture
def tiles(monkeypatch):
    """A processor that multiplies in tiles, and double precision in bf16's place, so that sums can be compared."""
    monkeypatch.setattr(small_maps, "_multiplies_in_tiles", lambda: True)
    monkeypatch.setattr(small_maps.torch, "bfloat16", torch.float64)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 3), (3, 3), (4, 4)])
@pytest.mark.parametrize("kernel", [3, 5, (3, 1), 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_equals_torch_in_every_shape(size, kernel, stride, bias):
    padding = tuple(side // 2 for side in kernel) if isinstance(kernel, tuple) else kernel // 2
    convolution = nn.Conv2d(30, 4, kernel, stride, padding, bias=bias).double().to(memory_format=torch.channels_last)
    assert convolution.weight.numel() > 2 * 4 * size[0] * size[1]
    for plain, small in zip(*both_ways(convolution, size), strict=True):
        torch.testing.assert_close(small, plain, rtol=1e-12, atol=1e-12)
        assert small.stride() == plain.stride() or 1 in small.shape


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize(("size", "way"), [((1, 1), "_Whole"), ((8, 1), "_Unfolded")])
def test_taps_that_meet_only_padding_have_no_gradient(size, way, monkeypatch):
    seen, apply = [], getattr(small_maps, way).apply
    monkeypatch.setattr(getattr(small_maps, way), "apply", lambda *given: seen.append(way) or apply(*given))
    convolution = nn.Conv2d(6, 2, 3, padding=1, bias=False)
    (*_, plain), (*_, small) = both_ways(convolution, size, torch.float32)
    assert seen
    met = torch.zeros(3, 3, dtype=torch.bool)
    met[1 if size == (1, 1) else slice(None), 1] = True
    assert (small[:, :, ~met] == 0).all()
    assert (small[:, :, met] != 0).all()
    torch.testing.assert_close(small, plain)


REFUSED = [  # shape of the weights, shape and type of the inputs
    ((4, 1, 3, 3), (2, 3, 2, 2), torch.float32),  # one channel is not as good as three
    ((4, 3, 3, 3), (2, 2, 2, 2), torch.float32),
    ((4, 3, 3, 3), (2, 3, 0, 0), torch.float32),
    ((4, 3, 3, 3), (2, 3, 2, 2), torch.float64),
    ((4, 3, 3, 3), (2, 3, 2, 2), torch.bfloat16),
]


@pytest.mark.parametrize(("weights", "shape", "dtype"), REFUSED, ids=str)
def test_what_torch_refuses_is_refused_in_its_words(weights, shape, dtype):
    inputs = torch.ones(shape, dtype=dtype)
    convolution = nn.Conv2d(weights[1], weights[0], weights[2:], padding=1)
    with pytest.raises(RuntimeError) as torchs:
        convolution(inputs)
    with pytest.raises(RuntimeError) as ours, SmallMaps(convolution):
        convolution(inputs)
    assert str(ours.value) == str(torchs.value)


def test_no_images_and_what_autocast_leaves_alone_are_computed_as_by_torch():
    convolution = nn.Conv2d(3, 4, 3, padding=1)
    with SmallMaps(convolution):
        assert convolution(torch.rand(0, 3, 2, 2)).shape == (0, 4, 2, 2)
        with torch.autocast("cpu", torch.bfloat16):
            assert convolution(torch.rand(2, 3, 2, 2)).dtype == torch.bfloat16
            assert convolution.double()(torch.rand(2, 3, 2, 2, dtype=torch.float64)).dtype == torch.float64


WITH_TILES = [  # channels, out channels, kernel, stride, padding, side
    (16, 20, 3, 1, 1, 2),
    (16, 20, 3, 2, 1, 4),
    (20, 16, 3, 2, 1, 2),  # of nine taps four meet something
    (16, 20, 5, 1, 2, 2),
    (16, 20, (3, 1), 1, (1, 0), 2),
    (20, 16, (3, 2), (1, 2), (1, 0), 2),
    (36, 40, (2, 3), (3, 1), (0, 2), 4),
    (16, 20, 3, 1, 0, 4),
    (16, 20, 2, 3, 0, 6),
    (16, 20, 1, 1, 0, 2),
    (16, 20, 1, 2, 0, 4),
    (16, 20, 1, 2, 0, 3),
    (36, 40, 1, 1, 1, 1),
]


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
@pytest.mark.parametrize("shape", WITH_TILES, ids=str)
def test_equals_torch_where_gradients_alone_are_products(shape, bias, layout):
    channels, width, kernel, stride, padding, side = shape
    convolution = nn.Conv2d(channels, width, kernel, stride, padding, bias=bias).double().to(memory_format=layout)
    for plain, small in zip(*both_ways(convolution, (side, side), count=120), strict=True):
        torch.testing.assert_close(small, plain, rtol=1e-12, atol=1e-12)
        assert small.stride() == plain.stride() or 1 in small.shape


def test_which_way_a_convolution_is_computed(monkeypatch):
    """The whole map where each output sees all of it; in bf16 1×1 kernels on few positions and kernels larger than
    what they give; with tiles the latter in fp32 too, and gradients of many channels on few positions."""
    seen = []

    def note(name):
        way = getattr(small_maps, name)
        monkeypatch.setattr(way, "apply", lambda *given, apply=way.apply: seen.append(name) or apply(*given))

    note("_Whole")
    note("_Unfolded")
    note("_UnfoldedGradient")
    monkeypatch.setattr(small_maps, "_multiplies_in_tiles", lambda: tiles)

    def way(channels, width, kernel, side, *, count=1000):
        seen.clear()
        convolution = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False, dtype=dtype)
        with SmallMaps(convolution):
            convolution(torch.zeros(count, channels, side, side, dtype=dtype))
        return seen[0] if seen else None

    for tiles, dtype in itertools.product((True, False), (torch.bfloat16, torch.float32)):
        half = dtype == torch.bfloat16
        assert way(3, 4, 3, 2) == way(3, 4, 5, 3) == way(3, 4, 1, 1) == "_Whole"
        assert way(36, 37, 3, 3) == ("_UnfoldedGradient" if tiles and half else None)
        assert way(35, 36, 3, 3) is way(36, 35, 3, 3) is way(36, 36, 3, 4) is None
        assert way(17, 16, 1, 2) == way(3, 4, 1, 8) == ("_Unfolded" if half else None)
        assert way(3, 4, 1, 9) is None
        assert way(8, 64, 3, 4, count=4) == ("_Unfolded" if tiles or half else None)  # 72 weights for 64 outputs


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_that_nobody_wants_are_not_computed(kernel, frozen, monkeypatch):
    """Of frozen weights; of images."""
    computed = []
    for name in ("_kernel_gradient", "conv2d_input", "_windows", "_unfold"):
        given = getattr(small_maps, name)
        monkeypatch.setattr(
            small_maps, name, lambda *args, name=name, given=given: computed.append(name) or given(*args)
        )
    convolution = nn.Conv2d(64, 64, kernel, padding=kernel // 2, bias=False).double().requires_grad_(not frozen)
    images = torch.rand(100, 64, 4, 4, dtype=torch.float64).requires_grad_(frozen)
    with SmallMaps(convolution):
        outputs = convolution(images)
        computed.clear()
        outputs.sum().backward()
    of_weight, of_input = ["_kernel_gradient"], ["_windows"] if kernel == 1 else ["conv2d_input"]
    unfolded = ["_unfold", "_windows"] if kernel == 3 else []  # a 1×1 kernel's input is unfolded already
    assert computed == (of_input if frozen else unfolded + of_weight)


@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_of_whole_maps_that_nobody_wants_are_not_computed(frozen, monkeypatch):
    given, backward = [], small_maps._Whole.backward
    monkeypatch.setattr(
        small_maps._Whole, "backward", staticmethod(lambda *args: given.append(backward(*args)) or given[0])
    )
    convolution = nn.Conv2d(4, 5, 3, padding=1, bias=False).requires_grad_(not frozen)
    images = torch.rand(3, 4, 2, 2).requires_grad_(frozen)
    with SmallMaps(convolution):
        convolution(images).sum().backward()
    [gradients] = given
    assert [gradient is None for gradient in gradients] == [not frozen, frozen, True, True]


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize(("kernel", "side"), [(1, 4), (3, 4), (3, 2)])
def test_a_gradient_of_a_gradient_is_refused(kernel, side):
    """Of which nothing here knows; anything else would be wrong numbers."""
    convolution = nn.Conv2d(64, 64, kernel, padding=kernel // 2, bias=False).double()
    with SmallMaps(convolution):
        outputs = convolution(torch.rand(100, 64, side, side, dtype=torch.float64))
    [gradient] = torch.autograd.grad(outputs.square().sum(), [convolution.weight], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize(("kernel", "side"), [(1, 4), (3, 4), (3, 2)])
def test_activations_may_be_computed_again_in_the_backward_pass(kernel, side):
    convolution = nn.Conv2d(64, 64, kernel, padding=kernel // 2).double()
    images = torch.rand(100, 64, side, side, dtype=torch.float64)
    convolution(images).square().sum().backward()
    expected = convolution.weight.grad.clone()
    convolution.zero_grad()
    with SmallMaps(convolution):
        checkpoint(convolution, images, use_reentrant=False).square().sum().backward()
    torch.testing.assert_close(convolution.weight.grad, expected, rtol=1e-12, atol=1e-9)


@pytest.mark.usefixtures("tiles")
def test_only_kernels_larger_than_what_they_give_are_unfolded(monkeypatch):
    seen = []
    monkeypatch.setattr(
        small_maps._Unfolded,
        "apply",
        lambda *given: seen.append(given) or torch.zeros(len(given[0]), 8, *given[2].size),
    )
    convolution = nn.Conv2d(8, 8, 3, padding=1, bias=False)  # 576 weights
    with SmallMaps(convolution):
        for count, side in ((7, 3), (8, 3), (4, 4), (5, 4), (1, 9)):
            seen.clear()
            convolution(torch.rand(count, 8, side, side))
            assert bool(seen) == (count * side**2 * 8 < 576)


def test_which_taps_meet_the_image():
    assert met_taps(1, 3, stride=1, padding=1) == slice(1, 2)
    assert met_taps(2, 3, stride=1, padding=1) == slice(0, 3)
    assert met_taps(2, 3, stride=2, padding=1) == slice(1, 3)
    assert met_taps(4, 7, stride=2, padding=3) == slice(1, 7)
    assert met_taps(1, 2, stride=1, padding=4).stop == 2


def test_where_each_output_sees_the_whole_image():
    def parts(side, kernel, stride, padding):
        _, found = place((side,) * 2, (kernel,) * 2, (stride,) * 2, (padding,) * 2)
        return [(rows.start, rows.stop) for rows, columns in found if columns == found[0][1]]

    assert parts(1, 3, stride=1, padding=1) == [(1, 2)]
    assert parts(2, 3, stride=1, padding=1) == [(1, 3), (0, 2)]
    assert parts(2, 3, stride=2, padding=1) == [(1, 3)]
    assert parts(4, 7, stride=2, padding=3) == [(3, 7), (1, 5)]
    assert parts(5, 5, stride=1, padding=0) == [(0, 5)]
    assert parts(3, 5, stride=1, padding=2) == [(2, 5), (1, 4), (0, 3)]  # 81 parts of pixels for 25 taps
    for other in ((3, 3, 1, 1), (5, 7, 2, 3), (1, 2, 1, 4), (6, 11, 1, 5)):  # the last one's would be 1,296 for 121
        assert parts(*other) == []


def test_other_convolutions_are_left_alone():
    others = (
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        type("Own", (nn.Conv2d,), {})(4, 4, 3, padding=1),
    )
    for convolution in others:
        with SmallMaps(convolution):
            assert "forward" not in convolution.__dict__
            convolution(torch.rand(1, 4, 2, 2))


def test_a_model_is_left_as_found_with_its_hooks_also_when_it_fails():
    model = build_model("resnet18-7x7", class_count=3, seed=0)
    seen = []
    model.layer4[0].conv2.register_forward_hook(lambda *_: seen.append(1))
    with SmallMaps(model):
        model(torch.rand(2, 3, 32, 32))
    with pytest.raises(RuntimeError), SmallMaps(model):
        model.layer4(torch.rand(2, 3, 2, 2))
    assert seen == [1]
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_a_network_in_bf16_within_its_rounding():
    model = build_model("resnet18-7x7", class_count=3, seed=0).to(memory_format=torch.channels_last).eval()
    images = torch.rand(4, 3, 32, 32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        plain = model(images)
        with SmallMaps(model):
            small = model(images)
    assert small.dtype == plain.dtype == torch.bfloat16
    torch.testing.assert_close(small, plain, rtol=0.05, atol=0.05)


def test_the_same_bits_each_time():
    """Or a resumed training would end otherwise."""
    model = build_model("resnet18-7x7", class_count=3, seed=0).to(memory_format=torch.channels_last)
    images = torch.rand(8, 3, 32, 32)
    found = []
    for _ in range(2):
        model.zero_grad()
        with SmallMaps(model), torch.autocast("cpu", torch.bfloat16):
            model(images).sum().backward()
        found.append([parameter.grad.clone() for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
