"""A new loss in one's own loop, with this package's network parts and metrics around it.

python examples/own_loop.py

The loss is compared with PU-MLC's and with binary cross entropy on generated pictures of which 70 %
of the present labels are not given. The same function trains with the command, too:
pumlc train ... --loss.name own_loop:focused_loss --loss.parameters '{weight: 0.1, gamma: 2}'
"""

import timm
import torch
from torch import Tensor

from pumlc.losses import Loss, Parameter, binary_cross_entropy_loss, pu_loss
from pumlc.metrics import mean_average_precision
from pumlc.vision import add_local_global

CLASSES, SIDE, TRAIN, TEST, EPOCHS, BATCH = 4, 32, 320, 160, 6, 40


def focused_loss(logits: Tensor, targets: Tensor, *, weight: float, gamma: float) -> Tensor:
    """Present labels by cross entropy; unknown ones as absent, less the surer they look present.

    Args:
        logits: [B, C].
        targets: [B, C] of 1 present, 0 unknown, -1 absent.
        weight: of an unknown label whose probability is 0.
        gamma: how fast the weight falls with the probability.

    Returns:
        Scalar: sum over classes, mean over rows, as all losses of the package.
    """
    logits = logits.float()  # whatever autocast says
    absent = torch.nn.functional.softplus(logits)  # -log(1 - p)
    trust = weight * (1 - logits.detach().sigmoid()) ** gamma
    each = torch.where(targets == 1, absent - logits, torch.where(targets == -1, 1, trust) * absent)
    return each.sum(1).mean()


FOCUSED = Loss(
    name="focused",
    function=focused_loss,
    takes="targets",
    couples="nothing",
    parameters={
        "weight": Parameter(kind="number", low=0),
        "gamma": Parameter(kind="number", low=0),
    },
)
"""The same with facts: values of parameters are checked, and sweeps know what it couples."""


def data(count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy pictures with a square of each present class's colour, and targets of 1 and -1."""
    generator = torch.Generator().manual_seed(seed)
    colours = torch.tensor([[2.0, -1, -1], [-1, 2, -1], [-1, -1, 2], [2, 2, -1]])
    present = torch.rand(count, CLASSES, generator=generator) < 0.4
    pictures = 0.5 * torch.randn(count, 3, SIDE, SIDE, generator=generator)
    for picture, row in zip(pictures, present, strict=True):
        for number in row.nonzero().ravel():
            top, left = torch.randint(0, SIDE - 8, (2,), generator=generator).tolist()
            picture[:, top : top + 8, left : left + 8] = colours[number][:, None, None]
    return pictures, torch.where(present, 1, -1)


def train(loss, pictures: Tensor, targets: Tensor) -> torch.nn.Module:
    """Train a small network of timm with local-global convolutions."""
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=CLASSES)
    add_local_global(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(pictures)).split(BATCH):
            optimizer.zero_grad()
            loss(network(pictures[rows]), targets[rows]).backward()
            optimizer.step()
    return network.eval()


def main() -> None:
    """Print the test mAP of three losses."""
    pictures, true = data(TRAIN, seed=0)
    listed = (true == 1) & (
        torch.rand(true.shape, generator=torch.Generator().manual_seed(2)) < 0.3
    )
    targets = torch.where(listed, 1, 0)  # what is not listed is unknown
    test_pictures, test_targets = data(TEST, seed=1)
    FOCUSED.check({"weight": 0.1, "gamma": 2.0})
    losses = {
        "focused (ours)": lambda x, y: focused_loss(x, y, weight=0.1, gamma=2.0),
        "PU-MLC": lambda x, y: pu_loss(x, y, gamma=0.55, alpha=2.0),
        "BCE": lambda x, y: binary_cross_entropy_loss(x, y, unknown="negative"),
    }
    for name, loss in losses.items():
        network = train(loss, pictures, targets)
        with torch.inference_mode():
            logits = network(test_pictures)
        quality = mean_average_precision(logits, test_targets, definition="sklearn")
        print(f"{name}: test mAP {quality:.1f}, N = {TEST}, one seed")


if __name__ == "__main__":
    main()
