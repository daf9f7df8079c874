"""What holds for each of the networks."""

import io

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from glioscope.errors import InputError
from glioscope.models.gp_recon_resnet import GPReconResNet
from glioscope.models.gp_unet import GPUNet
from glioscope.models.network import without_mirror
from glioscope.models.turn import TURNS_OF_A_RECTANGLE, turned, turned_back

HEADS = [
    {},
    {"pool_region": "tissue"},
    {"pooling": "lse"},
    {"pooling": "top_k", "pool_k": 5},
    {"pooling": "top_fraction", "pool_region": "tissue", "pool_fraction": 0.1},
    {"mirror": True},
    {"pooling": "top_fraction", "pool_region": "inner", "guide": 0.2, "mirror": True},
]
GUIDED = {"pooling": "lse", "pool_region": "tissue", "guide": 0.2}
SOME_HEADS = [HEADS[0], HEADS[4], HEADS[-1]]
each_head = pytest.mark.parametrize("head", HEADS, ids=lambda head: "-".join(map(str, head.values())) or "paper")


@each_head
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_logits_and_heatmap_have_the_promised_shapes_and_types(build, x, tissue, head, norm):
    out = build(norm=norm, **head).eval()(x, tissue)
    assert out.logits.shape == (2, 3)
    assert out.heatmap.shape == (2, 3, *x.shape[2:])
    assert out.logits.dtype == out.heatmap.dtype == torch.float32
    assert torch.isfinite(out.logits).all()
    assert torch.isfinite(out.heatmap).all()


@each_head
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_training_sends_a_finite_gradient_to_every_parameter(build, x, tissue, head, norm):
    net = build(norm=norm, **head).train()
    nn.functional.cross_entropy(net(x, tissue).logits, torch.tensor([0, 2])).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
    reached = [key for key, parameter in net.named_parameters() if parameter.grad.abs().sum() > 0]
    assert len(reached) > 0.9 * len(list(net.parameters()))


def test_the_papers_head_skips_the_heatmap_in_training_and_only_there(build, x):
    net = build()
    assert net.train()(x).heatmap is None
    assert net.eval()(x).heatmap is not None
    assert build(pooling="lse").train()(x).heatmap is not None


def test_weights_survive_saving_and_strict_loading(build, x):
    net, other = build(seed=0).eval(), build(seed=1).eval()
    assert not torch.equal(net(x).logits, other(x).logits)
    other.load_state_dict(load(save(net.state_dict())), strict=True)
    assert torch.equal(net(x).heatmap, other(x).heatmap)


def test_the_same_seed_gives_the_same_network_and_the_same_step(build, x):
    def step():
        net = build(seed=3).train()
        loss = nn.functional.cross_entropy(net(x).logits, torch.tensor([0, 2]))
        loss.backward()
        return [loss.detach(), *(parameter.grad for parameter in net.parameters())]

    assert all(torch.equal(a, b) for a, b in zip(step(), step(), strict=True))


@each_head
def test_a_slice_gets_the_same_answer_alone_and_in_a_batch(build, x, tissue, head):
    net = build(**head).eval()
    together, alone = net(x, tissue), net(x[1:], tissue[1:])
    torch.testing.assert_close(together.logits[1:], alone.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.heatmap[1:], alone.heatmap, rtol=1e-4, atol=1e-5)


@each_head
def test_channels_last_memory_changes_nothing_but_rounding(build, x, tissue, head):
    net = build(**head).eval()
    plain = net(x, tissue)
    packed = net.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last), tissue)
    torch.testing.assert_close(packed.logits, plain.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(packed.heatmap, plain.heatmap, rtol=1e-4, atol=1e-4)


def test_features_stay_channels_last_up_to_the_head(build, x):
    net = build().to(memory_format=torch.channels_last).eval()
    if isinstance(net, GPReconResNet):
        pytest.skip("torch's InstanceNorm answers in contiguous memory")
    features = net.features(x.to(memory_format=torch.channels_last))
    assert features.is_contiguous(memory_format=torch.channels_last)


@each_head
def test_bf16_autocast_stays_within_four_percent_of_the_range(build, x, tissue, head):
    net = build(**head).eval()
    exact = net(x, tissue)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = net(x, tissue)
    assert rough.logits.dtype == rough.heatmap.dtype == torch.float32
    span = exact.heatmap.max() - exact.heatmap.min()
    assert (rough.heatmap - exact.heatmap).abs().max() < 0.04 * span
    assert (rough.logits - exact.logits).abs().max() < 0.04 * span


@pytest.mark.parametrize("head", SOME_HEADS, ids=["paper", "top-fraction-tissue", "guide-mirror"])
def test_an_export_says_the_same_for_any_number_of_slices(build, x, tissue, head):
    net = build(depth=2, **head).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(net, (x, tissue), dynamic_shapes={"x": {0: batch}, "tissue": {0: batch}})
    stream = io.BytesIO()
    torch.export.save(program, stream)
    stream.seek(0)
    exported = torch.export.load(stream).module()
    more, masks = torch.cat([x, x.flip(0), x]), torch.cat([tissue, tissue.flip(0), tissue])
    logits, heatmap = exported(more, masks)
    expected = net(more, masks)
    torch.testing.assert_close(logits, expected.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(heatmap, expected.heatmap, rtol=1e-4, atol=1e-5)


def test_compilation_needs_no_graph_break_and_trains_alike(build, x):
    net = build(depth=2 if isinstance(build(), GPUNet) else 1).train()
    for module in net.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    expected = net(x).logits
    compiled = torch.compile(net, backend="eager", fullgraph=True)(x).logits
    torch.testing.assert_close(compiled, expected, rtol=1e-4, atol=1e-5)
    compiled.sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("head", SOME_HEADS, ids=["paper", "top-fraction-tissue", "guide-mirror"])
def test_compilation_for_inference_needs_no_graph_break_either(build, x, tissue, head):
    torch.compiler.reset()  # one forward of three classes and several heads: more than it remembers
    net = build(depth=2 if isinstance(build(), GPUNet) else 1, **head).eval()
    with torch.inference_mode():
        expected = net(x, tissue)
        compiled = torch.compile(net, backend="eager", fullgraph=True)(x, tissue)
    torch.testing.assert_close(compiled.logits, expected.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(compiled.heatmap, expected.heatmap, rtol=1e-4, atol=1e-5)


@each_head
def test_everything_inside_follows_the_inputs_device(build, x, tissue, head):
    out = build(**head).to("meta").eval()(x.to("meta"), tissue.to("meta"))
    assert out.heatmap.device.type == "meta"


@pytest.mark.parametrize(
    "head", [{}, {"pooling": "lse", "pool_region": "tissue", "guide": 0.2}], ids=["paper", "guide"]
)
def test_mirrored_it_knows_no_left_and_right(build, x, tissue, head):
    mirrored, plain = build(mirror=True, **head).eval(), build(**head).eval()
    out, lone = mirrored(x, tissue), plain(x, tissue)
    for turn in TURNS_OF_A_RECTANGLE:
        other = mirrored(turned(x, turn), turned(tissue, turn))
        torch.testing.assert_close(other.logits, out.logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(turned_back(other.heatmap, turn), out.heatmap, rtol=1e-4, atol=1e-5)
        # Otherwise the test would say nothing: one pass does tell the sides apart.
        assert not torch.allclose(plain(turned(x, turn), turned(tissue, turn)).logits, lone.logits, atol=1e-4)


def test_training_knows_neither_guide_nor_mirror(build, x, tissue):
    plain, other = build(**GUIDED | {"guide": 0}), build(**GUIDED, mirror=True)
    outputs = []
    for net in (plain, other):
        torch.manual_seed(5)
        outputs.append(net.train()(x, tissue))
    assert torch.equal(outputs[0].logits, outputs[1].logits)
    assert torch.equal(outputs[0].heatmap, outputs[1].heatmap)
    assert not torch.allclose(plain.eval()(x, tissue).logits, other.eval()(x, tissue).logits, atol=1e-4)


def test_without_mirror_it_decides_from_one_pass_for_as_long_as_asked(build, x):
    plain, mirrored = build().eval(), build(mirror=True).eval()
    once, four = plain(x).logits, mirrored(x).logits
    with without_mirror(mirrored), without_mirror(plain):
        assert torch.equal(mirrored(x).logits, once)
        assert torch.equal(plain(x).logits, once)
    assert torch.equal(mirrored(x).logits, four)
    assert torch.equal(plain(x).logits, once)
    with pytest.raises(InputError), without_mirror(mirrored):
        mirrored(x[:, :1])
    assert torch.equal(mirrored(x).logits, four)
    with without_mirror(nn.Identity()):  # a network of somebody else's has no mirror to leave out
        pass


@each_head
def test_without_a_mask_or_with_an_empty_one_every_pixel_counts(build, x, tissue, head):
    everywhere = build(**head | {"pool_region": "all"}).eval()(x).logits
    net = build(**head | {"pool_region": "tissue"}).eval()
    torch.testing.assert_close(net(x).logits, everywhere)
    masks = tissue.clone()
    masks[0] = False
    mixed = net(x, masks).logits
    torch.testing.assert_close(mixed[0], everywhere[0])
    torch.testing.assert_close(mixed[1], net(x, tissue).logits[1])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((1, 3, 24, 24), "needs (B, 2, H, W)"), ((2, 24, 24), "needs (B, 2, H, W)"), ((1, 2, 1, 24), "too small")],
)
def test_an_input_that_does_not_fit_is_refused_in_one_line(build, shape, expected):
    with pytest.raises(InputError) as caught:
        build()(torch.rand(shape))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_whole_numbers_are_refused(build, x):
    with pytest.raises(InputError, match="needs floats"):
        build()((x * 255).to(torch.uint8))


def test_a_mask_of_another_size_is_refused(build, x, tissue):
    with pytest.raises(InputError, match="tissue has shape"):
        build(pool_region="tissue")(x, tissue[:, :-1])
