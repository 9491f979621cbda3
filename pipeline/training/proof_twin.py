"""A detection model in float64 on the CPU, whose loss can be computed again and again at slightly different weights.

The caller's model is copied, never touched. What the loss treats as a constant on purpose is recorded once, at the
unchanged weights, and played back in every later pass (`stop_gradients`): otherwise correct code would seem 30 to 60 %
wrong. Nothing else is frozen, so a detach of the user's own is found.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from ultralytics.nn.modules.head import Detect
from ultralytics.utils import DEFAULT_CFG_DICT, IterableSimpleNamespace
from ultralytics.utils.torch_utils import unwrap_model

from ..errors import TrainingError, TuneUpError, UsageError
from .stop_gradients import Tape, freeze_assigners, freeze_features, frozen_alpha, map_tensors, tensors_of

_BOXES = 6  # per picture
_SMALLEST, _LARGEST = 0.06, 0.95  # sides of the boxes, as shares of the picture's: some for every level of the head
_SHARED = (type, ModuleType, FunctionType, MethodType, str, int, float)  # what a copy does not own, or holds nothing
_EXACT = {torch.float64, torch.complex128}
Call = tuple[tuple[Any, ...], dict[str, Any]]


class _Watch(TorchFunctionMode):
    """The first pass: what each module is called with, where it stops, and whether it stays float64."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, list[Call]] = {}
        self.running: list[str] = []
        self.coarse = ""

    def enter(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            self.running.append(f"{name} ({type(module).__name__})")
            kept = map_tensors((args, kwargs), lambda tensor: tensor.detach().clone())
            self.calls.setdefault(name, []).append(kept)

        return hook

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._look_at(output)
        self.running.pop()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._look_at(result)
        return result

    def _look_at(self, result: Any) -> None:
        if not self.coarse and any(t.requires_grad and t.dtype not in _EXACT for t in tensors_of(result)):
            self.coarse = self.running[-1] if self.running else "the loss"


@contextmanager
def _blaming(place: Callable[[], str]) -> Iterator[None]:
    """Turn whatever custom code raises into a message that names the place."""
    try:
        yield
    except TuneUpError:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        raise TrainingError(f"no proof: {place()} fails in float64 on the CPU ({text})") from error


@contextmanager
def twin_of(model: nn.Module, imgsz: int | None, batch: int, seed: int) -> Iterator[Twin]:
    """Copy a detection model and hold all that the proof changes in the process while the block runs.

    These are the default type (float64), torch's random state and number of threads on the CPU, and the recorded
    constants. All are put back at the end, also after an error.

    Args:
        model: a detection model of Ultralytics, perhaps compiled or wrapped for several GPUs.
        imgsz: side of the pictures in pixels, a multiple of the model's largest stride and at least twice it;
            None for twice.
        batch: number of pictures.
        seed: of pixels, boxes and whatever random layers draw.

    Raises:
        UsageError: no detection model, or a size that does not fit it.
        TrainingError: the model cannot be copied, or its loss cannot be computed as `Twin.begin` needs it.
    """
    before = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast("cpu", enabled=False))
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.callback(torch.set_default_dtype, before)
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(1)  # for so little work threads wait more than they compute; and sums keep their order
        torch.set_default_dtype(torch.float64)  # the loss and custom layers make tensors without naming a type
        twin = Twin(model, imgsz, batch, seed)
        stack.enter_context(frozen_alpha(twin.tape))
        twin.begin()
        yield twin


class Twin:
    """The copy, its batch of random pictures and boxes, and the point at which everything is compared.

    Attributes:
        parameters: what learns, by name; all of them require a gradient, as they do in training.
        base: the loss vector at the unchanged weights, shape (terms,), with its graph.
        calls: the arguments of each call of each module, by the module's name; "" is the whole model.
        predictions: the raw outputs of the head.
    """

    def __init__(self, model: nn.Module, imgsz: int | None, batch: int, seed: int) -> None:
        bare: Any = unwrap_model(model)
        layers = getattr(bare, "model", None)
        head: Any = layers[-1] if isinstance(layers, nn.Sequential) else None
        if not isinstance(head, Detect):
            raise UsageError("the proof needs a detection model of Ultralytics, one whose last module is Detect")
        stride = int(head.stride.max())
        imgsz = 2 * stride if imgsz is None else imgsz
        if imgsz % stride or imgsz < 2 * stride or batch < 1:
            raise UsageError(f"imgsz must be a multiple of {stride}, at least {2 * stride}, and batch 1 or more")
        try:
            self.model: Any = copy.deepcopy(bare).cpu().double().train()
        except Exception as error:  # a layer may hold anything
            raise TrainingError(f"the model cannot be copied for the proof: {error}") from error
        self.name = _name_of(bare)
        self.seed = seed
        self.tape = Tape()
        self.batch = random_batch(imgsz, batch, head.nc, _channels_of(bare), torch.Generator().manual_seed(seed))
        self.parameters: dict[str, nn.Parameter] = {}
        for name, parameter in self.model.named_parameters():
            learns = parameter.is_floating_point() and ".dfl" not in name  # that one is fixed, in training too
            parameter.requires_grad_(learns).grad = None
            if learns:
                self.parameters[name] = parameter
        arguments = getattr(bare, "args", {})
        if isinstance(arguments, Mapping):  # a bare model has none, one from a checkpoint a dictionary
            self.model.args = IterableSimpleNamespace(**{**DEFAULT_CFG_DICT, **arguments})
        self.base = torch.zeros(0)
        self.calls: dict[str, list[Call]] = {}
        self.predictions: Any = None

    def begin(self) -> None:
        """Compute the loss at the base point, record its constants, and keep what every module is called with.

        Raises:
            TrainingError: it cannot be computed, not in float64, is not finite, or is another one the second time.
        """
        watch = _Watch()
        with _blaming(lambda: watch.running[-1] if watch.running else "the model"), ExitStack() as hooks:
            if getattr(self.model, "criterion", None) is None:
                self.model.criterion = self.model.init_criterion()
            freeze_assigners(_exact(self.model.criterion), self.tape)
            freeze_features(self.model.model[-1], self.tape)
            for module, name in self.module_names().items():
                hooks.callback(module.register_forward_pre_hook(watch.enter(name), with_kwargs=True).remove)
                hooks.callback(module.register_forward_hook(watch.leave).remove)
            with watch:
                self._reset()
                predictions = self.model(self.batch["img"])
                watch.running = ["the loss"]
                self.base = self.model.loss(self.batch, predictions)[0].reshape(-1)
        self.tape.recording = False
        self.calls = watch.calls
        self.predictions = map_tensors(predictions, lambda tensor: tensor.detach().clone())
        self._demand_exactness(watch.coarse)

    def term_names(self, count: int) -> list[str]:
        """Return a name for each element of the loss vector: `box`, `cls`, `dfl`, or numbered ones for another loss."""
        criterion = self.model.criterion
        part: Any = criterion if hasattr(criterion, "loss_names") else getattr(criterion, "one2many", None)
        names = tuple(getattr(part, "loss_names", ()))
        if len(names) == count:
            return [str(name).removesuffix("_loss") for name in names]
        return ["loss"] if count == 1 else [f"term {number}" for number in range(1, count + 1)]

    def module_names(self) -> dict[nn.Module, str]:
        """Return the network's modules with their names; the loss may be a module, but is none of them."""
        loss = getattr(self.model, "criterion", None)
        own = set(loss.modules()) if isinstance(loss, nn.Module) else set()
        return {module: name for name, module in self.model.named_modules() if module not in own}

    def loss(self, predictions: Any = None) -> Tensor:
        """Return the loss vector, shape (terms,), at the present weights, or for the given output of the network."""
        self._reset()
        with _blaming(lambda: "the model" if predictions is None else "the loss"):
            vector: Tensor = self.model.loss(self.batch, predictions)[0]
        return vector.reshape(-1)

    def call(self, module: nn.Module, call: Call) -> Any:
        """Return what a module makes of the given arguments, under the recorded constants."""
        self._reset()
        with _blaming(lambda: type(module).__name__):
            return module(*call[0], **call[1])

    def _reset(self) -> None:
        self.tape.rewind()
        torch.default_generator.manual_seed(self.seed)  # a dropout draws the same mask in every pass

    def _demand_exactness(self, coarse: str) -> None:
        if coarse:
            raise TrainingError(
                f"no proof: {coarse} computes in less than float64, too coarse for finite differences; "
                "let it keep the type of its input, for instance x.to(y.dtype) in place of x.float()"
            )
        if not bool(self.base.isfinite().all()):
            raise TrainingError(
                "no proof: the loss of random pictures is not finite; the weights are broken, start from others"
            )
        with torch.no_grad():
            again = self.loss()
        if not torch.allclose(again, self.base, rtol=1e-13, atol=0):
            raise TrainingError(
                "no proof: the same pictures give another loss each time; a layer draws random numbers of its own"
            )


def random_batch(imgsz: int, count: int, classes: int, channels: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Return a batch in the form that Ultralytics' loss takes, float64, drawn from the generator.

    `img` [count, channels, imgsz, imgsz] in 0..1; for each box `batch_idx` [n], `cls` [n, 1] and `bboxes` [n, 4],
    centre and size as shares of the picture. A picture's boxes are spread evenly over a logarithmic scale of sizes.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    pixels = uniform(count, channels, imgsz, imgsz)
    rungs = torch.arange(_BOXES, dtype=torch.float64)[:, None] + uniform(count, _BOXES, 2)
    sides = _SMALLEST * (_LARGEST / _SMALLEST) ** (rungs / _BOXES)
    centres = sides / 2 + (1 - sides) * uniform(count, _BOXES, 2)
    return {
        "img": pixels,
        "batch_idx": torch.arange(count, dtype=torch.float64).repeat_interleave(_BOXES),
        "cls": torch.randint(classes, (count * _BOXES, 1), generator=generator).double(),
        "bboxes": torch.cat((centres, sides), -1).reshape(-1, 4),
    }


def _exact(criterion: Any) -> list[Any]:
    """Move all that a criterion holds to float64 on the CPU, in place; returns it and the objects inside it."""
    seen: dict[int, Any] = {}
    waiting = [criterion]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, _SHARED):
            continue
        seen[id(thing)] = thing
        if isinstance(thing, nn.Module):
            thing.cpu().double()
        if isinstance(thing, tuple):
            waiting += thing
            continue
        inside: Any = thing if isinstance(thing, dict | list) else getattr(thing, "__dict__", {})
        for key, value in list(enumerate(inside) if isinstance(inside, list) else inside.items()):
            if isinstance(value, torch.device):
                inside[key] = torch.device("cpu")
            elif isinstance(value, Tensor):
                if not isinstance(value, nn.Parameter):
                    inside[key] = value.cpu().double() if value.is_floating_point() else value.cpu()
            else:
                waiting.append(value)
    return list(seen.values())


def _channels_of(model: Any) -> int:
    return int(getattr(model, "yaml", {}).get("channels", 3))


def _name_of(model: Any) -> str:
    """Return what a person calls the model: the file it comes from, else its class."""
    source = getattr(model, "pt_path", None) or getattr(model, "yaml", {}).get("yaml_file", "")
    return Path(str(source)).stem or type(model).__name__
