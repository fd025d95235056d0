"""Drawings for the example data: scenes of six things, and sketches of X-rays."""

import cv2
import numpy as np

HEIGHT, WIDTH = 144, 192
THINGS = ("boat", "cloud", "flower", "house", "sun", "tree")

Random = np.random.RandomState


def draw_scene(present: set[str], random: Random) -> np.ndarray:
    """Draw things at random places, in random sizes and colours, before sky and ground.

    Returns:
        RGB, [2 HEIGHT, 2 WIDTH, 3] uint8.
    """
    sky, ground = random.uniform(150, 220, 3), random.uniform(90, 160, 3)
    sky[2] = 235
    horizon = int(random.randint(70, 95))
    picture = np.empty((HEIGHT, WIDTH, 3))
    picture[:horizon], picture[horizon:] = sky, ground
    _background(picture, horizon, random)
    columns = random.permutation(4) * 46 + 26
    places: dict[str, int] = dict(zip(("boat", "flower", "house", "tree"), columns, strict=True))
    for thing in ("sun", "cloud", "tree", "house", "boat", "flower"):
        if thing in present:
            left = int(places.get(thing, random.randint(30, WIDTH - 30)))
            _DRAWN[thing](picture, left, horizon, random)
    picture = cv2.resize(picture, (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_LINEAR)
    picture += random.normal(0, 8, picture.shape)
    return picture.clip(0, 255).astype(np.uint8)


def _background(picture: np.ndarray, horizon: int, random: Random) -> None:
    """Hills and fields, which belong to no class and make every picture another one."""
    for _ in range(3):
        wide, high = int(random.randint(30, 90)), int(random.randint(6, 36))
        place, shade = (int(random.randint(WIDTH)), horizon), random.uniform(80, 190, 3).tolist()
        cv2.ellipse(picture, place, (wide, high), 0, 180, 360, shade, -1)
    for _ in range(3):
        left, top = int(random.randint(WIDTH)), int(random.randint(horizon, HEIGHT))
        corners = [[left, top], [left + 70, top + 4], [left + 40, HEIGHT], [left - 50, HEIGHT]]
        cv2.fillPoly(picture, [np.array(corners)], random.uniform(70, 170, 3).tolist())


def _sun(picture: np.ndarray, x: int, horizon: int, random: Random) -> None:
    centre, radius = (x, int(random.randint(14, 30))), int(random.randint(9, 14))
    for angle in np.linspace(0, 2 * np.pi, 10):
        end = (int(x + 1.7 * radius * np.cos(angle)), int(centre[1] + 1.7 * radius * np.sin(angle)))
        cv2.line(picture, centre, end, (255, 190, 40), 2)
    cv2.circle(picture, centre, radius, (255, 220, 60), -1)


def _cloud(picture: np.ndarray, x: int, horizon: int, random: Random) -> None:
    y, grey = int(random.randint(18, 45)), random.uniform(225, 255)
    for shift, radius in ((-14, 9), (0, 13), (14, 10)):
        cv2.circle(picture, (x + shift, y), radius, (grey, grey, grey), -1)


def _tree(picture: np.ndarray, x: int, horizon: int, random: Random) -> None:
    foot, high = horizon + int(random.randint(8, 25)), int(random.randint(34, 52))
    cv2.rectangle(picture, (x - 3, foot - high // 2), (x + 3, foot), (100, 65, 35), -1)
    green = (random.uniform(20, 60), random.uniform(100, 150), random.uniform(30, 60))
    for step in range(3):
        top = foot - high + step * high // 5
        corners = [[x, top], [x - 9 - 3 * step, top + 17], [x + 9 + 3 * step, top + 17]]
        cv2.fillPoly(picture, [np.array(corners)], green)


def _house(picture: np.ndarray, x: int, horizon: int, random: Random) -> None:
    foot, wide, high = horizon + int(random.randint(10, 25)), 16, int(random.randint(22, 30))
    wall = random.uniform(150, 240, 3).tolist()
    cv2.rectangle(picture, (x - wide, foot - high), (x + wide, foot), wall, -1)
    roof = [[x - wide - 4, foot - high], [x, foot - high - 18], [x + wide + 4, foot - high]]
    cv2.fillPoly(picture, [np.array(roof)], (random.uniform(140, 190), 50, 40))
    cv2.rectangle(picture, (x - 4, foot - 13), (x + 4, foot), (80, 50, 30), -1)
    cv2.rectangle(picture, (x + 7, foot - 18), (x + 12, foot - 12), (70, 90, 130), -1)


def _boat(picture: np.ndarray, x: int, horizon: int, random: Random) -> None:
    y = horizon + int(random.randint(12, 30))
    hull = [[x - 22, y - 8], [x + 22, y - 8], [x + 13, y + 4], [x - 13, y + 4]]
    cv2.fillPoly(picture, [np.array(hull)], random.uniform(30, 120, 3).tolist())
    cv2.line(picture, (x, y - 8), (x, y - 44), (90, 60, 30), 2)
    sail = [[x + 2, y - 42], [x + 2, y - 12], [x + 20, y - 12]]
    cv2.fillPoly(picture, [np.array(sail)], (250, 245, 235))


def _flower(picture: np.ndarray, x: int, horizon: int, random: Random) -> None:
    y, petal = HEIGHT - int(random.randint(28, 40)), int(random.randint(5, 8))
    cv2.line(picture, (x, y), (x, HEIGHT - 4), (40, 130, 40), 2)
    colour = [(230, 60, 120), (240, 120, 30), (150, 60, 200), (240, 60, 60)][random.randint(4)]
    for angle in np.arange(5) * 2 * np.pi / 5:
        place = (int(x + 1.2 * petal * np.cos(angle)), int(y + 1.2 * petal * np.sin(angle)))
        cv2.circle(picture, place, petal, colour, -1)
    cv2.circle(picture, (x, y), petal - 1, (250, 220, 60), -1)


_DRAWN = {
    "sun": _sun,
    "cloud": _cloud,
    "tree": _tree,
    "house": _house,
    "boat": _boat,
    "flower": _flower,
}


def draw_xray(present: set[str], random: Random) -> np.ndarray:
    """Draw two lungs, a heart, and a change for each finding: a sketch, no medical picture."""
    picture = np.full((HEIGHT, WIDTH), 130.0)
    for side in (-1, 1):
        middle = (WIDTH // 2 + side * 42, 70 + int(random.randint(-4, 5)))
        cv2.ellipse(picture, middle, (30, 56), 0, 0, 360, 45.0, -1)
        for rib in range(30, 120, 16):
            cv2.ellipse(picture, (middle[0], rib), (34, 9), 0, 180, 360, 75.0, 2)
    heart = int(random.randint(29, 36) if "Cardiomegaly" in present else random.randint(22, 30))
    cv2.ellipse(picture, (WIDTH // 2 + 8, 92), (heart, 26), 25, 0, 360, 175.0, -1)
    for _ in range(6):  # shadows that mean nothing
        place = (int(random.randint(WIDTH)), int(random.randint(HEIGHT)))
        cv2.circle(picture, place, int(random.randint(4, 12)), random.uniform(60, 160), -1)
    if "Edema" in present:
        spots = random.uniform(0, 1, (HEIGHT // 8, WIDTH // 8))
        picture += 25 * cv2.resize(spots, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    if "Pleural Effusion" in present:
        side = -1 if random.rand() < 0.5 else 1
        middle = (WIDTH // 2 + side * 46, 126)
        size = (int(random.randint(14, 30)), int(random.randint(8, 20)))
        cv2.ellipse(picture, middle, size, 0, 0, 360, random.uniform(120, 170), -1)
    picture = cv2.GaussianBlur(picture, (5, 5), 0) + random.normal(0, 8, picture.shape)
    return np.repeat(picture.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
