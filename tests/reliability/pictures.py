"""Strange and broken pictures in training (0 and 2 workers), evaluate, audit, predict, features.

python pictures.py; last line: figures; exit 1 if a reader hangs, raises another error than ValueError naming the file, or decodes wrongly.
"""

import io
import json
import os
import shutil
import signal
import struct
import sys
import time
import traceback
import warnings
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import common as c

c.reexec()
base = c.fresh("pictures")
c.preload()
import numpy as np
from PIL import Image, ImageCms

warnings.simplefilter("ignore")
faults, figures, log = [], {}, base / "log.txt"


def fault(severity, text):
    faults.append(text)
    print(f"FAULT [{severity}] {text}", flush=True)


zoo = base / "zoo"
zoo.mkdir()
random = np.random.RandomState(0)
scene = np.zeros((40, 60, 3), np.uint8)
scene[:20, :30] = (220, 30, 30)
scene[20:, 30:] = (30, 30, 220)
scene[:20, 30:] = (30, 200, 30)
scene[20:, :30] = (240, 240, 240)
rgb = Image.fromarray(scene)


def saved(image, form, **k):
    b = io.BytesIO()
    image.save(b, form, **k)
    return b.getvalue()


def bomb(w, h, depth=8, colour=0):
    def chunk(t, d):
        return struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))

    o = zlib.compressobj(9)
    row = b"\0" * (1 + (w * depth * (3 if colour == 2 else 1) + 7) // 8)
    data = b"".join(o.compress(row) for _ in range(h)) + o.flush()
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, 0))
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


jpeg = saved(rgb, "JPEG", quality=95)
palette = rgb.quantize(8)
transparent = palette.copy()
transparent.info["transparency"] = 0
frames = [Image.fromarray(np.roll(scene, 10 * i, 1)) for i in range(3)]
adobe_marker = None
ycck = saved(rgb.convert("CMYK"), "JPEG", quality=95)
srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
cases = {  # name -> bytes, what is right: None: must be ValueError; array: mean error at most 12; "any": either
    "truncated.jpg": (jpeg[: len(jpeg) // 2], None),
    "zero.jpg": (b"", None),
    "text.jpg": (b"hello world\n", None),
    "html.png": (b"<html>404</html>", None),
    "header_only.jpg": (jpeg[:20], None),
    "garbage_middle.jpg": (jpeg[:300] + os.urandom(100) + jpeg[400:], "any"),
    "png_truncated.png": (saved(rgb, "PNG")[:-40], None),
    "png_bad_crc.png": (saved(rgb, "PNG")[:50] + b"XX" + saved(rgb, "PNG")[52:], None),
    "cmyk.jpg": (saved(rgb.convert("CMYK"), "JPEG", quality=95), scene),
    "cmyk.tif": (saved(rgb.convert("CMYK"), "TIFF"), scene),
    "palette.png": (saved(palette, "PNG"), scene),
    "palette_transparent.png": (saved(transparent, "PNG", transparency=0), "any"),
    "palette.gif": (saved(palette, "GIF"), scene),
    "onebit.png": (
        saved(Image.fromarray(scene[..., 0] > 128), "PNG"),
        np.repeat((scene[..., :1] > 128) * 255, 3, 2),
    ),
    "grey16.png": (
        saved(Image.fromarray(scene[..., 0].astype(np.uint16) << 8), "PNG"),
        np.repeat(scene[..., :1], 3, 2),
    ),
    "grey16.tif": (
        saved(Image.fromarray(scene[..., 0].astype(np.uint16) << 8), "TIFF"),
        np.repeat(scene[..., :1], 3, 2),
    ),
    "float.tif": (saved(Image.fromarray(scene[..., 0].astype(np.float32) / 255), "TIFF"), None),
    "int32.tif": (saved(Image.fromarray(scene[..., 0].astype(np.int32)), "TIFF"), None),
    "animated.gif": (saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), scene),
    "animated.webp": (
        saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True),
        scene,
    ),
    "pages.tif": (saved(frames[0], "TIFF", save_all=True, append_images=frames[1:]), scene),
    "la.png": (saved(rgb.convert("LA"), "PNG"), "any"),
    "rgba.webp": (saved(rgb.convert("RGBA"), "WEBP", lossless=True), scene),
    "lab.tif": (
        saved(
            ImageCms.profileToProfile(
                rgb, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
            ),
            "TIFF",
        ),
        "any",
    ),
    "ycbcr.jpg": (saved(rgb.convert("YCbCr"), "JPEG", quality=95), scene),
    "icc.jpg": (saved(rgb, "JPEG", quality=95, icc_profile=srgb), scene),
    "icc_broken.jpg": (saved(rgb, "JPEG", quality=95, icc_profile=b"x" * 50), scene),
    "one.png": (saved(rgb.crop((0, 0, 1, 1)), "PNG"), "any"),
    "thin.png": (saved(Image.new("RGB", (1, 5000), "red"), "PNG"), "any"),
    "flat.png": (saved(Image.new("RGB", (5000, 1), "red"), "PNG"), "any"),
    "bomb_30000.png": (bomb(30000, 30000, 1), None),
    "bomb_13000.png": (bomb(13000, 13000, 1), "any"),
    "bomb_rgb_13000.png": (bomb(13000, 13000, 8, 2), "any"),
    "wrong_suffix.png": (jpeg, scene),
    "no_suffix": (jpeg, scene),
    "upper.JPG": (jpeg, scene),
    "bmp.bmp": (saved(rgb, "BMP"), scene),
    "ppm.ppm": (saved(rgb, "PPM"), scene),
    "grey16.ppm": (
        b"P5 60 40 65535\n" + (scene[..., 0].astype("u2") << 8).astype(">u2").tobytes(),
        np.repeat(scene[..., :1], 3, 2),
    ),
    "huge_header.ppm": (b"P6 200000 200000 255\n", None),
    "huge_header.bmp": (
        saved(rgb, "BMP")[:18] + struct.pack("<ii", 2**30, 2**30) + saved(rgb, "BMP")[26:],
        None,
    ),
    "svg.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
    "eps_as.jpg": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n",
        None,
    ),
}
for o in range(1, 9):
    exif = Image.Exif()
    exif[0x112] = o
    inverse = {
        1: rgb,
        2: rgb.transpose(0),
        3: rgb.transpose(3),
        4: rgb.transpose(1),
        5: rgb.transpose(5),
        6: rgb.transpose(2),
        7: rgb.transpose(6),
        8: rgb.transpose(4),
    }[o]
    cases[f"exif{o}.jpg"] = (saved(inverse, "JPEG", quality=95, exif=exif), scene)
    cases[f"exif{o}.png"] = (saved(inverse, "PNG", exif=exif), scene)
    cases[f"exif{o}.webp"] = (saved(inverse, "WEBP", lossless=True, exif=exif), scene)
exif = Image.Exif()
exif[0x112] = 99
cases["exif99.jpg"] = (saved(rgb, "JPEG", quality=95, exif=exif), scene)
cases["exif_broken.jpg"] = (
    jpeg[:2] + b"\xff\xe1\x00\x20Exif\0\0II*\0\xff\xff\xff\xff" + b"A" * 16 + jpeg[2:],
    "any",
)
cases["exif_text.jpg"] = (
    saved(
        rgb,
        "JPEG",
        quality=95,
        exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04abc\0\0\0\0\0",
    ),
    "any",
)
for name, (data, _) in cases.items():
    (zoo / name).write_bytes(data)
os.symlink("loop.jpg", zoo / "loop.jpg")
os.symlink("nowhere.jpg", zoo / "dangling.jpg")
os.mkfifo(zoo / "fifo.jpg")
(zoo / "folder.jpg").mkdir()


class Hang(BaseException):
    pass


def alarm(*_):
    raise Hang()


signal.signal(signal.SIGALRM, alarm)
from pumlc.vision.data.decode import load_image


def decoded(path, seconds=30):
    signal.alarm(seconds)
    try:
        return "ok", load_image(path)
    except ValueError as e:
        return "ValueError", str(e)
    except Hang:
        return "hang", ""
    except BaseException as e:
        return type(e).__name__, f"{e} {traceback.extract_tb(e.__traceback__)[-1]}"[:200]
    finally:
        signal.alarm(0)


import resource

for name, (data, right) in cases.items():
    before, t = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.time()
    kind, got = decoded(zoo / name)
    grown, seconds = (
        (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024,
        time.time() - t,
    )
    if grown > 300 or seconds > 3:
        print(f"cost {name}: {len(data)} bytes -> +{grown} MiB, {seconds:.1f} s, {kind}")
    if kind not in ("ok", "ValueError"):
        fault("medium", f"{name}: {kind} {got}")
    elif kind == "ValueError" and name not in got:
        fault("low", f"{name}: error without its name: {got[:100]}")
    elif right is None and kind == "ok":
        fault("medium", f"{name}: is taken as a picture {got.shape}")
    elif isinstance(right, np.ndarray) and kind == "ValueError":
        fault("medium", f"{name}: refused: {got[:150]}")
    elif isinstance(right, np.ndarray):
        inner = np.abs(got.astype(int) - right).mean() if got.shape == right.shape else None
        if inner is None or inner > 12:
            fault("medium", f"{name}: decodes wrongly: shape {got.shape}, mean error {inner}")
for name in ("loop.jpg", "dangling.jpg", "fifo.jpg", "folder.jpg"):
    kind, got = decoded(zoo / name, 5)
    if kind != "ValueError":
        fault("low", f"load_image/predict(['{name}']): {kind} {got}")
figures["decoded"] = len(cases) + 4


# every Pillow format under mutation, in a process of its own
def mutations(count):
    import random as r

    rng = r.Random(0)
    kinds = {}
    seeds = [
        jpeg,
        saved(rgb, "PNG"),
        saved(palette, "GIF"),
        saved(rgb, "TIFF"),
        saved(rgb, "TIFF", compression="tiff_lzw"),
        saved(rgb, "BMP"),
        saved(rgb, "WEBP"),
        saved(rgb, "PPM"),
        saved(rgb, "TGA"),
        saved(rgb, "PCX"),
        saved(rgb, "ICO"),
        saved(rgb, "SGI"),
        saved(rgb, "DDS"),
        saved(rgb, "JPEG2000"),
        saved(rgb, "ICNS") if "ICNS" in Image.SAVE else jpeg,
        saved(rgb, "AVIF") if "AVIF" in Image.SAVE else jpeg,
        *(
            cases[n][0]
            for n in (
                "exif6.jpg",
                "exif6.png",
                "exif6.webp",
                "palette_transparent.png",
                "grey16.png",
                "grey16.tif",
                "animated.gif",
                "cmyk.jpg",
                "icc.jpg",
                "lab.tif",
            )
        ),
    ]
    path = base / "mutant.jpg"
    for n in range(count):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.choice([1, 1, 2, 4, 10])):
            k = rng.randrange(4)
            at = (
                rng.randrange(min(len(data), 400) if rng.random() < 0.7 else len(data))
                if data
                else 0
            )
            if k == 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            elif k == 1:
                del data[at : at + rng.choice([1, 2, 8])]
            elif k == 2:
                data[at : at + 4] = rng.choice(
                    [b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"]
                )
            else:
                data = data[: max(1, at)]
        path.write_bytes(data)
        kind, got = decoded(path, 20)
        if kind not in ("ok", "ValueError"):
            kinds.setdefault(kind + " " + got.split("FrameSummary")[-1][:120], [0, bytes(data)])[
                0
            ] += 1
    return kinds


r, w = os.pipe()
count = int(os.environ.get("MUTANTS", 6000))
pid = os.fork()
if pid == 0:
    size = int(open("/proc/self/statm").read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (size + 3 * 2**30, -1))
    with os.fdopen(w, "w") as f:
        json.dump({k: [v[0], v[1].hex()[:4000]] for k, v in mutations(count).items()}, f)
    os._exit(0)
os.close(w)
text = os.fdopen(r).read()
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
if code:
    fault("medium", f"mutated pictures: the process died with {code}")
for k, (n, data) in (json.loads(text) if text else {}).items():
    fault("low", f"mutated picture: {k} x{n}")
figures["mutants"] = count

# tools on one bad picture among many
data = base / "data"
data.mkdir()
csv_file = c.pictures_csv(data, 40, 12)
run = base / "run"
settings = c.vision_settings(data, train__epochs=1, train__ema_decay="null")
assert c.run_tool("train", [*settings, "--out", run], log) == 0, log.read_text()[-1500:]


def tool(expected, label, name, arguments, must="", timeout=90):
    log2 = base / "tool.txt"
    log2.unlink(missing_ok=True)
    t = time.time()
    code = c.run_tool(name, arguments, log2, timeout=timeout)
    text = log2.read_text(errors="replace") if log2.exists() else ""
    line = next(
        (l for l in text.splitlines() if l.startswith("error:")),
        text.strip().splitlines()[-1] if text.strip() else "",
    )
    print(f"{label}: exit {code}, {time.time() - t:.1f} s: {line[:170]}", flush=True)
    if code == "timeout":
        fault("high", f"{label}: hangs")
    elif code not in expected:
        fault("medium", f"{label}: exit {code}: {line[:200]}")
    elif must and must not in text:
        fault("low", f"{label}: the error does not name {must}: {line[:150]}")
    return code, text


original = (data / "train5.png").read_bytes(), (data / "test3.png").read_bytes()
for bad, content in (("truncated", original[0][:-30]), ("empty", b""), ("vanished", None)):
    for workers in (0, 2):
        p = data / "train5.png"
        hook_delete = content is None
        if not hook_delete:
            p.write_bytes(content)
        shutil.rmtree(base / "r2", ignore_errors=True)
        args = [
            *c.vision_settings(data, train__epochs=2, train__workers=workers, data__validation="0"),
            "--out",
            base / "r2",
        ]
        if hook_delete:

            def vanish():
                import pumlc.engine.loop as loop

                plain = loop.Trainer._run_epoch

                def go(self):
                    p.unlink(missing_ok=True)
                    return plain(self)

                loop.Trainer._run_epoch = go

            log2 = base / "tool.txt"
            log2.unlink(missing_ok=True)
            pid = c.fork_tool("train", args, log2, vanish)
            code = c.wait(pid, 90)
            text = log2.read_text()
            end = time.time() + 15
            while c.leftovers(pid) and time.time() < end:
                time.sleep(0.2)
            left = c.leftovers(pid)
            print(
                f"train workers={workers} vanished: exit {code}",
                [l for l in text.splitlines() if "error" in l][:1],
            )
            if code != 2 or "train5.png" not in text or "line" not in text:
                fault("medium", f"vanished picture, workers {workers}: {code} {text[-200:]}")
            if left:
                fault("medium", f"workers outlive the run: {left}")
        else:
            tool((2,), f"train workers={workers} {bad}", "train", args, "train5.png")
        p.write_bytes(original[0])
(data / "test3.png").write_bytes(original[1][:-30])
for workers in (0, 2):
    tool((2,), f"evaluate workers={workers}", "evaluate", [run, "--workers", workers], "test3.png")
tool((2,), "audit test", "audit", [run, "--split", "test", "--out", base / "a.csv"], "test3.png")
tool(
    (2,), "prepare --per-class (does not decode)", "prepare", ["csv", data, "--csv", csv_file]
) if False else None
code, text = tool(
    (0, 2), "prepare on a truncated picture", "prepare", ["csv", data, "--csv", csv_file]
)
figures["prepare_finds_bad_pictures"] = code == 2
(data / "test3.png").write_bytes(original[1])
# after a bad picture: can the run go on without it?
shutil.rmtree(base / "r3", ignore_errors=True)


def bad_later():
    import pumlc.engine.loop as loop

    plain = loop.Trainer._run_epoch

    def go(self):
        if self.epoch == 1:
            (data / "train5.png").write_bytes(b"broken")
        return plain(self)

    loop.Trainer._run_epoch = go


log2 = base / "tool.txt"
log2.unlink(missing_ok=True)
c.run_tool(
    "train",
    [*c.vision_settings(data, train__epochs=3, data__validation="0"), "--out", base / "r3"],
    log2,
    bad_later,
)
lines = csv_file.read_text()
csv_file.write_text("".join(l for l in lines.splitlines(True) if "train5.png" not in l))
code, text = tool(
    (0, 2),
    "resume after the bad row was removed from the CSV",
    "train",
    ["--out", base / "r3", "--resume"],
)
figures["resume_without_the_bad_row"] = code == 0
csv_file.write_text(lines)
(data / "train5.png").write_bytes(original[0])
# predict: folders with strange names and files
many = base / "many"
many.mkdir()
for i in range(3):
    shutil.copy(data / f"test{i}.png", many)
bad_name = os.path.join(os.fsencode(many), b"\xff\xfe.png")
shutil.copy(os.fsencode(data / "test0.png"), bad_name)
code, text = tool(
    (0, 2),
    "predict a folder with a file name that is not UTF-8, --out",
    "predict",
    [run, many, "--out", base / "p.csv"],
)
if code != 0:
    fault(
        "medium",
        f"predict --out: a file name that is not UTF-8 loses the whole output: {text.strip().splitlines()[-1][:150]}",
    )
code, text = tool((0, 2), "the same to standard output", "predict", [run, many])
if code != 0:
    fault(
        "medium",
        f"predict to stdout: a file name that is not UTF-8 ends it: {text.strip().splitlines()[-1][:150]}",
    )
os.unlink(bad_name)
os.mkfifo(many / "fifo.png")
os.symlink("loop.png", many / "loop.png")
os.symlink("..", many / "up")
# 1 and not 0: links to folders are followed (case predict-symlink), and the parent of this one holds
# the zoo, whose broken pictures are named
tool(
    (1,),
    "predict a folder with fifo, symlink loop and a link to its parent",
    "predict",
    [run, many, "--out", base / "p.csv"],
)
os.unlink(many / "fifo.png")
os.unlink(many / "loop.png")
os.unlink(many / "up")
(many / "broken.png").write_bytes(b"broken")
# 1 and not 2: the other pictures have their rows, the broken one is named
code, text = tool(
    (1,),
    "predict a folder with one broken picture",
    "predict",
    [run, many, "--out", base / "q.csv"],
    "broken.png",
)
figures["predict_keeps_the_others"] = (base / "q.csv").exists()
with (data / "labels.csv").open("a") as f:
    f.write("train,fifo.png,red\n")
os.mkfifo(data / "fifo.png")
tool((2,), "train with a fifo in the CSV", "train", [*settings, "--out", base / "r4"], "fifo.png")
os.unlink(data / "fifo.png")
os.symlink("fifo.png", data / "fifo.png")
tool(
    (2,),
    "train with a symlink loop in the CSV",
    "train",
    [*settings, "--out", base / "r5"],
    "fifo.png",
)
print(("FAULTS " if faults else "ok ") + str(len(faults)) + " " + json.dumps(figures))
sys.exit(bool(faults))
