"""Mutated files for every reader: anything but a right result or ValueError naming the file is a fault.

python fuzz.py [scale=1] [only=TARGET] [seed=0]; last line: cases and distinct faults; exit 1 if there are any.
"""

import copy
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import sys
import time
import traceback
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import common as c

c.reexec()
OPTIONS = dict(a.split("=") for a in sys.argv[1:])
SCALE, ONLY, SEED = float(OPTIONS.get("scale", 1)), OPTIONS.get("only"), int(OPTIONS.get("seed", 0))
base = c.fresh("fuzz" + (f"_{ONLY}" if ONLY else ""))
c.preload()
import numpy as np
import scipy.sparse as sp
import torch
from PIL import Image

warnings.simplefilter("ignore")
TOKENS = [
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b",",
    b"|",
    b'"',
    b"'",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xc3",
    b"\xe2\x80\xa8",
    b"\x85",
    b"\x1c",
    b"../",
    b"/",
    b"-1",
    b"1.0",
    b"NaN",
    b"nan",
    b"inf",
    b"Infinity",
    b"1e400",
    b"9" * 30,
    b"9" * 5000,
    b"-0",
    b"\xd9\xa1",
    b"0_1",
    b"+1",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"[" * 3000,
    b"\\ud800",
    b"\\u0000",
    b"a" * 300,
    b" ",
    b"\t",
    b"split",
    b"train",
    b"=cmd()",
    b"labels",
    b"negatives",
    b";",
    b"\x1a",
    b"&#0;",
    b"&x;",
    b"<![CDATA[",
    b"\xf0\x9f\x98\x80",
]


def mutate_bytes(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 6])):
        kind = rng.randrange(8)
        at = rng.randrange(len(data) + 1)
        if kind == 0 and data:
            data[at % len(data)] = rng.randrange(256)
        elif kind == 1 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 2:
            data[at:at] = rng.choice(TOKENS)
        elif kind == 3:
            del data[at : at + rng.choice([1, 1, 2, 5, 20])]
        elif kind == 4:
            data[at : at + rng.choice([1, 2, 4])] = rng.choice(TOKENS)
        elif kind == 5:
            data = data[:at]
        elif kind == 6:
            lines = bytes(data).split(b"\n")
            i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
            op = rng.randrange(4)
            if op == 0:
                lines[i], lines[j] = lines[j], lines[i]
            elif op == 1:
                lines.insert(i, lines[j])
            elif op == 2:
                del lines[i]
            else:
                lines.insert(i, b"")
            data = bytearray(b"\n".join(lines))
        else:
            i = rng.randrange(len(data) + 1)
            data[at:at] = data[i : i + rng.randrange(1, 20)]
    return bytes(data)


ODD = [
    None,
    True,
    False,
    0,
    1,
    -1,
    1.0,
    1.5,
    float("nan"),
    float("inf"),
    10**30,
    -(10**12),
    2**31,
    2**63,
    "",
    "x",
    "1",
    "../x",
    "/etc/passwd",
    "\ud800",
    "a\0b",
    "a\nb",
    [],
    {},
    [[]],
    {"x": 1},
    [1],
    "é" * 200,
    ["a", "a"],
    1e308,
    [None],
]


def mutate_json(value, rng):
    """Replace, delete, duplicate or add a random node."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice([1, 1, 2, 3])):
        places = []

        def walk(node):
            if isinstance(node, dict):
                for k in node:
                    places.append((node, k))
                    walk(node[k])
            elif isinstance(node, list):
                for i in range(len(node)):
                    places.append((node, i))
                    walk(node[i])

        walk(value)
        if not places:
            return rng.choice(ODD)
        node, key = rng.choice(places)
        op = rng.randrange(6)
        if op <= 2:
            node[key] = copy.deepcopy(rng.choice(ODD))
        elif op == 3:
            del node[key]
        elif op == 4 and isinstance(node, list):
            node.insert(rng.randrange(len(node) + 1), copy.deepcopy(node[key]))
        elif op == 4:
            node[rng.choice(["x", "class_path", "", "\ud800", "a\nb"])] = copy.deepcopy(node[key])
        else:
            other, k2 = rng.choice(places)
            node[key] = (
                copy.deepcopy(other[k2])
                if not (isinstance(other, list) and k2 >= len(other))
                and (not isinstance(other, dict) or k2 in other)
                else None
            )
    return value


def dump(value, rng=None):
    text = json.dumps(value)
    return text.encode("utf-8", "surrogatepass")


class Hang(BaseException):
    pass


class Wrong(Exception):
    pass


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


# ---- targets: name -> (cases, seeds() -> [files], mutate(files, rng) -> files, call(folder, files) -> None or raise Wrong)
TARGETS = {}


def target(name, cases):
    def add(maker):
        TARGETS[name] = (cases, maker)
        return maker

    return add


def pics(names):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    return {n: buffer.getvalue() for n in names}


def any_of(files, rng, names):
    name = rng.choice(names)
    return {**files, name: mutate_bytes(files[name], rng)}


def lines_of(data):
    return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")


def check_csv_result(images, files, wide):
    text = files["labels.csv"].decode("utf-8-sig")
    rows = [l for l in re.split("\r\n|\r|\n", text)]
    if not set(np.unique(images.labels)) <= {-1, 0, 1}:
        raise Wrong("label values")
    for r in range(len(images)):
        name = images.paths[r].decode()
        here = [l for l in rows if name in l.replace('""', '"')]
        if not here:
            raise Wrong(f"path {name!r} is in no line")
        if not wide:
            for col in np.flatnonzero(images.labels[r] == 1):
                if not any(images.classes[col] in l.replace('""', '"') for l in here):
                    raise Wrong(f"{name}: class {images.classes[col]!r} not in its line")


@target("csv_long", 12000)
def _():
    from pumlc.vision.data.readers.csv_file import read_csv

    names = [f"p/{i}.png" for i in range(4)] + ["é.png", "q,r.png"]
    seeds = [
        {
            "labels.csv": 'split,image,labels,negatives\ntrain,p/0.png,a|b,c\ntrain,p/1.png,,\ntest,p/2.png,"a",b|c\nval,p/3.png,c,a\ntrain,é.png,b,\n'.encode(),
            **pics(names),
        },
        {
            "labels.csv": '\ufeffsplit,image,labels\r\ntrain,"q,r.png",traffic light|car\r\ntrain,p/1.png,car\r\ntest,p/2.png,\r\n'.encode(),
            **pics(names),
        },
    ]

    def call(folder, files):
        for split in ("train", "test"):
            check_csv_result(
                read_csv(folder / "labels.csv", folder, split, unlisted="unknown"), files, False
            )

    return seeds, lambda f, rng: any_of(f, rng, ["labels.csv"]), call


@target("csv_wide", 9000)
def _():
    from pumlc.vision.data.readers.csv_file import read_csv

    names = [f"p/{i}.png" for i in range(4)]
    seeds = [
        {
            "labels.csv": b"split,image,beach,people,car\ntrain,p/0.png,1,1,\ntrain,p/1.png,,1,-1\ntest,p/2.png,0,1.0,-1.0\nval,p/3.png,1,0,0\n",
            **pics(names),
        }
    ]
    good = re.compile(r"^\s*([+-]?[01](\.0*)?(e[+-]?\d+)?|)\s*$", re.I)

    def call(folder, files):
        images = read_csv(folder / "labels.csv", folder, "train", unlisted="unknown")
        check_csv_result(images, files, True)
        import csv

        for row in list(csv.reader(io.StringIO(files["labels.csv"].decode("utf-8-sig"))))[1:]:
            if row and row[0].strip() == "train":
                for cell in row[2:]:
                    if len(row) == 5 and not good.match(cell):
                        raise Wrong(f"label cell {cell!r} accepted")

    return seeds, lambda f, rng: any_of(f, rng, ["labels.csv"]), call


@target("csv_roundtrip", 5000)
def _():
    import csv

    from pumlc.vision.data.readers.csv_file import read_csv

    pool = [
        "a",
        "B b",
        "ü",
        "=1+1",
        "-1",
        "0",
        "x;y",
        "x'y",
        'q"r',
        "c,d",
        "labels ",
        "日本",
        "a_b",
        "N/A",
        "nan",
        "1",
        "train",
    ]
    names = [f"p/{i}.png" for i in range(6)] + ["w x.png", "ä,b.png", "-1.png", "q'r.png"]
    seeds = [pics(names)]

    def mutate(files, rng):
        classes = sorted({n.strip() for n in rng.sample(pool, rng.randrange(2, 6))})
        used = rng.sample(names, rng.randrange(2, len(names)))
        table = {n: [rng.choice([1, 0, -1]) for _ in classes] for n in used}
        split = {n: rng.choice(["train", "train", "test"]) for n in used}
        split[used[0]] = "train"
        wide = rng.random() < 0.5
        out = io.StringIO()
        writer = csv.writer(
            out,
            lineterminator=rng.choice(["\n", "\r\n"]),
            quoting=rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        )
        order = list(range(2 + (len(classes) if wide else 2)))
        header = ["split", "image", *(classes if wide else ["labels", "negatives"])]
        rng.shuffle(order)
        writer.writerow([header[i] for i in order])
        for n in used:
            if wide:
                rest = [
                    rng.choice(
                        {
                            1: ["1", "1.0", "+1", " 1 "],
                            0: ["", "0", "0.0", " "],
                            -1: ["-1", "-1.0"],
                        }[v]
                    )
                    for v in table[n]
                ]
            else:
                rest = [
                    rng.choice(["|", " | "]).join(cl for cl, v in zip(classes, table[n]) if v == s)
                    for s in (1, -1)
                ]
            row = [split[n], n, *rest]
            writer.writerow([row[i] for i in order])
        return {
            **files,
            "labels.csv": (rng.choice(["", "\ufeff"]) + out.getvalue()).encode(),
            ".truth": repr((classes, table, split, wide)).encode(),
        }

    def call(folder, files):
        if ".truth" not in files:
            return
        classes, table, split, wide = eval(files[".truth"])
        if wide and set(classes) & {"labels", "split", "image"}:
            return
        mentioned = [
            cl for i, cl in enumerate(classes) if wide or any(v[i] for v in table.values())
        ]
        images = read_csv(folder / "labels.csv", folder, "train", unlisted="unknown")
        expected = {
            n: {cl: v for cl, v in zip(classes, vs) if v}
            for n, vs in table.items()
            if split[n] == "train"
        }
        got = {
            images.paths[r].decode(): {
                images.classes[k]: int(v) for k, v in enumerate(images.labels[r]) if v
            }
            for r in range(len(images))
        }
        if got != expected:
            raise Wrong(f"{got} != {expected}")

    return seeds, mutate, call


@target("coco", 10000)
def _():
    from pumlc.vision.data.readers.coco import read_coco

    content = {
        "images": [
            {"id": 1, "file_name": "a.png"},
            {"id": 2, "file_name": "b.png"},
            {"id": 7, "file_name": "s/c.png"},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3},
            {"image_id": 2, "category_id": 4},
            {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 1, 1]},
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "dog"}],
    }
    seeds = [
        {
            "annotations/instances_train.json": dump(content),
            **{f"train/{n}": v for n, v in pics(["a.png", "b.png", "s/c.png"]).items()},
        }
    ]
    name = "annotations/instances_train.json"

    def ids(first, second, a, b):
        return {
            **seeds[0],
            name: dump(
                {
                    "images": [
                        {"id": first, "file_name": "a.png"},
                        {"id": second, "file_name": "b.png"},
                    ],
                    "annotations": [{"image_id": first, "category_id": a}],
                    "categories": [{"id": a, "name": "cat"}, {"id": b, "name": "dog"}],
                }
            ),
        }

    seeds += [
        ids(1, 1.0, 3, 4),
        ids(1, True, 3, 4),
        ids(1, 2, 3, 3.0),
        ids(1, 2, 1, True),
        ids(0, False, 1, 2),
        ids(0, -0.0, 1, 2),
    ]

    def mutate(files, rng):
        if rng.random() < 0.25:
            return {**files, name: mutate_bytes(files[name], rng)}
        return {**files, name: dump(mutate_json(content, rng))}

    def call(folder, files):
        images = read_coco(folder, "train", name="coco")
        found = json.loads(files[name].decode("utf-8-sig"))
        key = lambda v: json.dumps(v)
        names = {key(x["id"]): x["name"] for x in found["categories"]}
        for row, image in enumerate(found["images"]):
            expected = sorted(
                {
                    names.get(key(a["category_id"]), "?")
                    for a in found["annotations"]
                    if key(a["image_id"]) == key(image["id"])
                }
            )
            got = sorted({images.classes[k] for k in np.flatnonzero(images.labels[row] == 1)})
            if expected != got:
                loose = any(
                    key(a["image_id"]) != key(image["id"]) and a["image_id"] == image["id"]
                    for a in found["annotations"]
                ) or any(key(a["category_id"]) not in names for a in found["annotations"])
                same = len({x["id"] for x in found["images"]}) < len(found["images"]) or len(
                    {x["id"] for x in found["categories"]}
                ) < len(found["categories"])
                if same or not loose:
                    raise Wrong(f"row {row}: {got} != {expected}")

    return seeds, mutate, call


VOC = "VOC2007/ImageSets/Main/"


@target("voc_lists", 4000)
def _():
    from pumlc.vision.data.readers.voc import VOC_CLASSES, read_voc

    files = {
        VOC + "trainval.txt": b"000001\n000002\n000003\n",
        **{
            f"VOC2007/JPEGImages/{n}": v
            for n, v in pics(["000001.jpg", "000002.jpg", "000003.jpg"]).items()
        },
    }
    for i, cl in enumerate(VOC_CLASSES):
        files[f"{VOC}{cl}_trainval.txt"] = (
            f"000001 {' 1' if i % 3 == 0 else '-1'}\n000002 {' 0' if i % 4 == 0 else '-1'}\n000003 -1\n".encode()
        )

    def call(folder, files):
        images = read_voc(folder, "trainval" if False else "train")
        for r, p in enumerate(images.paths):
            n = p.decode()[:-4]
            for k, cl in enumerate(VOC_CLASSES):
                lines = [
                    l.split()
                    for l in files[f"{VOC}{cl}_trainval.txt"].decode("utf-8-sig").splitlines()
                    if l.split()[:1] == [n]
                ]
                want = {"1": 1, "0": -1, "-1": -1}[lines[0][1]]
                if images.labels[r, k] != want:
                    raise Wrong(f"{n} {cl}")

    return (
        [files],
        lambda f, rng: any_of(
            f,
            rng,
            [VOC + "trainval.txt"] * 2 + [f"{VOC}aeroplane_trainval.txt", f"{VOC}cat_trainval.txt"],
        ),
        call,
    )


@target("voc_xml", 4000)
def _():
    from pumlc.vision.data.readers.voc import read_voc

    xml = b"""<?xml version="1.0" encoding="utf-8"?><!DOCTYPE a [<!ENTITY x "cat">]><annotation><object><name>&x;</name><difficult>0</difficult></object><object><name>dog</name><difficult>1</difficult></object></annotation>"""
    bomb = (
        b"""<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">"""
        + b"".join(b'<!ENTITY %c "%s">' % (98 + i, (b"&%c;" % (97 + i)) * 10) for i in range(9))
        + b"]><annotation><object><name>&j;</name></object></annotation>"
    )
    files = {
        VOC + "trainval.txt": b"000001\n",
        "VOC2007/Annotations/000001.xml": xml,
        **{f"VOC2007/JPEGImages/{n}": v for n, v in pics(["000001.jpg"]).items()},
    }
    encodings = [
        {**files, "VOC2007/Annotations/000001.xml": xml.replace(b"utf-8", e)}
        for e in (
            b"utf-16",
            b"foo",
            b"utf-7",
            b"cp1252",
            b"idna",
            b"big5",
            b"rot13",
            b"unicode_escape",
        )
    ]
    seeds = [
        files,
        {**files, "VOC2007/Annotations/000001.xml": bomb},
        *encodings,
        {**files, VOC + "trainval.txt": b"\n"},
    ]

    def mutate(f, rng):
        return any_of(f, rng, ["VOC2007/Annotations/000001.xml"] * 5 + [VOC + "trainval.txt"])

    return seeds, mutate, lambda folder, files: read_voc(folder, "train")


@target("positive_list", 5000)
def _():
    from pumlc.labels import read_positive_list
    from pumlc.vision.data.images import LabelledImages
    from pumlc.vision.data.positive_list import keep_listed

    files = {
        "list.txt": b"a.png,0 2\nb.png,1\ns/c.png,\nd.png,2 2\n",
        **pics(["a.png", "b.png", "s/c.png", "d.png"]),
    }

    def call(folder, files):
        names, labels = read_positive_list(folder / "list.txt", 3)
        images = LabelledImages(
            "x",
            folder,
            np.array([b"a.png", b"b.png", b"s/c.png", b"d.png"]),
            np.full((4, 3), -1, np.int8),
            ("A", "B", "C"),
        )
        lines = [
            l for l in re.split("\r\n|\r|\n", files["list.txt"].decode("utf-8-sig")) if l.strip()
        ]
        for row, line in enumerate(lines):
            want = sorted({int(i) for i in line.split(",")[1].split()})
            if not all(re.fullmatch("[0-9]+", i) for i in line.split(",")[1].split()):
                raise Wrong(f"index spelled {line!r}")
            if np.flatnonzero(labels[row] == 1).tolist() != want:
                raise Wrong(line)
        keep_listed(images, folder / "list.txt", folder)

    return [files], lambda f, rng: any_of(f, rng, ["list.txt"]), call


@target("nuswide", 3000)
def _():
    from pumlc.vision.data.readers.nuswide import read_nus_wide

    L = "Groundtruth/TrainTestLabels/Labels_{}_Train.txt"
    files = {
        "ConceptsList/Concepts81.txt": b"cat\ndog\n",
        "ImageList/TrainImagelist.txt": b"x\\1.jpg\nx\\2.jpg\nx\\3.jpg\n",
        L.format("cat"): b"1\n0\n1\n",
        L.format("dog"): b"0\n0\n1\n",
        **{f"Flickr/x/{i}.jpg": v for i, v in zip((1, 2, 3), pics("abc").values())},
    }

    def call(folder, files):
        images = read_nus_wide(folder, "train")
        raw = files["ImageList/TrainImagelist.txt"].decode("utf-8-sig").split("\n")
        for k, cl in enumerate(images.classes):
            values = files[L.format(cl)].decode("utf-8-sig").split("\n")
            for r, p in enumerate(images.paths):
                at = [i for i, l in enumerate(raw) if l.strip().replace("\\", "/") == p.decode()]
                if len(at) == 1 and (
                    at[0] >= len(values)
                    or {"1": 1, "0": -1}.get(values[at[0]].strip()) != images.labels[r, k]
                ):
                    raise Wrong(f"{p} {cl}: label of another line")

    return (
        [files],
        lambda f, rng: any_of(any_of(f, rng, list(files)[:4]), rng, list(files)[:4]),
        call,
    )


@target("visual_genome", 3000)
def _():
    from pumlc.vision.data.readers.visual_genome import read_visual_genome

    index = {"1.jpg": [0, 3, 250], "2.jpg": [], "3.jpg": [499]}
    files = {
        "train_list_500.txt": b"1.jpg\n2.jpg\n3.jpg\n",
        "vg_category_500_labels_index.json": dump(index),
        **{f"VG_100K/{i}.jpg": v for i, v in zip((1, 2, 3), pics("abc").values())},
    }

    def mutate(f, rng):
        if rng.random() < 0.5:
            return {**f, "vg_category_500_labels_index.json": dump(mutate_json(index, rng))}
        return any_of(f, rng, ["train_list_500.txt", "vg_category_500_labels_index.json"])

    return (
        [files],
        mutate,
        lambda folder, files: read_visual_genome(folder, "train", num_classes=200),
    )


@target("open_images", 3000)
def _():
    from pumlc.vision.data.readers.openimages import read_open_images

    files = {
        "oidv6-classes-trainable.txt": b"/m/1\n/m/2\n",
        "oidv7-class-descriptions.csv": b'LabelName,DisplayName\n/m/1,Cat\n/m/2,"Dog, big"\n',
        "oidv7-train-annotations-human-imagelabels.csv": b"ImageID,Source,LabelName,Confidence\na,verification,/m/1,1\nb,verification,/m/2,0\n",
        **{f"train/{i}.jpg": v for i, v in zip("ab", pics("ab").values())},
    }

    def mutate(f, rng):
        f = any_of(f, rng, list(files)[:3])
        if rng.random() < 0.02:
            f = {**f, os.fsdecode(b"train/\xff\xfe.jpg"): b"x"}
        return f

    return [files], mutate, lambda folder, files: read_open_images(folder, "train")


def npz(**arrays):
    b = io.BytesIO()
    np.savez(b, **arrays)
    return b.getvalue()


def odd_array(a, rng):
    a = np.array(a)
    kind = rng.randrange(12)
    with np.errstate(all="ignore"):
        if kind == 0:
            return a[:-1] if a.ndim else a
        if kind == 1:
            return np.concatenate([a.ravel(), a.ravel()])
        if kind == 2:
            return a.astype(np.float64) if a.dtype.kind in "biuf" else a
        if kind == 3:
            return -a.astype(np.int64) if a.dtype.kind in "biuf" else a
        if kind == 4:
            return np.array(["x"])
        if kind == 5:
            return np.zeros(0)
        if kind == 6:
            return a.astype(np.complex64) if a.dtype.kind in "biuf" else a
        if kind == 7 and a.size and a.dtype.kind in "biuf":
            b = a.astype(np.int64).ravel().copy()
            b[rng.randrange(b.size)] = rng.choice([-1, 2**31, 2**62, 10**9, 5, 3 * 10**12])
            return b.reshape(a.shape)
        if kind == 8:
            return a.reshape(1, -1)
        if kind == 9 and a.dtype.kind in "biuf":
            return np.full(a.shape, np.nan)
        if kind == 10:
            return a.astype(np.int8) if a.dtype.kind in "biuf" else a
        return np.array(5)


@target("xmc", 5000)
def _():
    from pumlc.text.data.readers import read_corpus

    positives = sp.random(4, 3, 0.5, "csr", random_state=0)
    positives.data[:] = 1

    def matrix(form):
        b = io.BytesIO()
        sp.save_npz(b, positives.asformat(form))
        return b.getvalue()

    files = {
        "raw/Y.txt": b"cat\ndog\nbig bird\n",
        "raw/trn_X.txt": b"a\nb\nc\nd\n",
        "raw/tst_X.txt": b"e\nf\ng\nh\n",
        "Y.trn.npz": matrix("csr"),
        "Y.tst.npz": matrix("coo"),
        "filter_labels_train.txt": b"0 1\n3 2\n",
    }
    seeds = [files, *({**files, "Y.trn.npz": matrix(f)} for f in ("csc", "coo", "bsr", "dia"))]

    def mutate(f, rng):
        if rng.random() < 0.5:
            arrays = dict(np.load(io.BytesIO(f["Y.trn.npz"]), allow_pickle=False))
            name = rng.choice(list(arrays))
            if name == "shape":
                arrays[name] = np.array(
                    [
                        rng.choice([4, 5, -1, 0, 2**31, 2**40, 2**62]),
                        rng.choice([3, 2, 10**7, 2**40]),
                    ]
                )
            elif name == "format":
                arrays[name] = np.array(rng.choice([b"csr", b"coo", b"dia", b"bsr", b"csc", b"x"]))
            else:
                arrays[name] = odd_array(arrays[name], rng)
            if rng.random() < 0.1:
                del arrays[name]
            return {**f, "Y.trn.npz": npz(**arrays)}
        return any_of(
            f,
            rng,
            [
                "raw/Y.txt",
                "raw/trn_X.txt",
                "filter_labels_train.txt",
                "filter_labels_train.txt",
                "Y.trn.npz",
            ],
        )

    def call(folder, files):
        train, _ = read_corpus(folder, "xmc")
        if train.positives.shape != (len(train.texts), len(train.label_texts)):
            raise Wrong("shape")

    return seeds, mutate, call


@target("jsonl", 3000)
def _():
    from pumlc.text.data.readers import read_corpus

    rows = [
        {"text": "a b", "labels": ["x", "y"]},
        {"text": "", "labels": []},
        {"text": "ü", "labels": ["z "]},
    ]

    def lines(rows):
        return b"\n".join(dump(r) for r in rows) + b"\n"

    files = {"train.jsonl": lines(rows), "test.jsonl": lines(rows), "labels.txt": b"x\ny\nz\n"}

    def mutate(f, rng):
        if rng.random() < 0.5:
            new = mutate_json(rows, rng)
            return {**f, "train.jsonl": lines(new if isinstance(new, list) else [new])}
        return any_of(f, rng, ["train.jsonl", "train.jsonl", "labels.txt"])

    def call(folder, files):
        train, _ = read_corpus(folder, "jsonl")
        want = [
            json.loads(l) for l in files["train.jsonl"].decode("utf-8-sig").split("\n") if l.strip()
        ]
        for r, record in enumerate(want):
            got = sorted(train.label_texts[k] for k in train.positives[[r]].indices)
            if (
                got != sorted({l.strip() for l in record["labels"]})
                or train.texts[r] != record["text"]
            ):
                raise Wrong(str(record))

    return (
        [files, {k: v for k, v in files.items() if k != "labels.txt"}],
        lambda f, rng: mutate(f if "labels.txt" in f else {**f, "labels.txt": b"x\ny\nz\n"}, rng),
        call,
    )


@target("text_csv", 3000)
def _():
    from pumlc.text.data.readers import read_corpus

    files = {
        "train.csv": b'text,labels\n"a, b",x|y\n"two\nlines",y\nc,\n',
        "test.csv": b"labels,text\nx,a\ny,b\n",
    }

    def call(folder, files):
        for split in read_corpus(folder, "csv"):
            for text in split.texts:
                if not isinstance(text, str):
                    raise Wrong(f"a text is {text!r}")

    return [files], lambda f, rng: any_of(f, rng, ["train.csv", "test.csv"]), call


# ---- run folders
def vision_run():
    run = base / "vision_run"
    if not run.exists():
        data = base / "pictures"
        data.mkdir()
        c.pictures_csv(data, 24, 8)
        assert (
            c.run_tool(
                "train", [*c.vision_settings(data, train__epochs=1), "--out", run], base / "log.txt"
            )
            == 0
        ), (base / "log.txt").read_text()
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file()}


def text_run():
    run = base / "text_run"
    if not run.exists():
        data = base / "texts"
        data.mkdir()
        c.text_data(data)
        assert (
            c.run_tool(
                "train", [*c.text_settings(data, train__epochs=1), "--out", run], base / "log.txt"
            )
            == 0
        ), (base / "log.txt").read_text()
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file()}


def json_file(name):
    def mutate(f, rng):
        if rng.random() < 0.2:
            return {**f, name: mutate_bytes(f[name], rng)}
        return {**f, name: dump(mutate_json(json.loads(f[name]), rng))}

    return mutate


PICTURE = np.zeros((40, 40, 3), np.uint8)


def load_vision(folder, files):
    import pumlc

    predictor = pumlc.load(folder, device="cpu")
    classes = json.loads(files["run.json"])["classes"]
    if (
        list(predictor.labels) != classes
        or not isinstance(classes, list)
        or not all(isinstance(x, str) for x in classes)
    ):
        raise Wrong(f"labels {predictor.labels!r} of classes {classes!r}")
    t = predictor.thresholds
    if t.shape != (len(classes),) or t.dtype.kind != "f" or not ((t >= 0) & (t <= 1)).all():
        raise Wrong(f"thresholds {t!r}"[:120])
    scores, _ = predictor.predict([PICTURE])
    if not np.isfinite(scores).all():
        raise Wrong("scores are not finite")


@target("run_json", 700)
def _():
    return [vision_run()], json_file("run.json"), load_vision


@target("index_json", 700)
def _():
    return [vision_run()], json_file("weights/index.json"), load_vision


@target("run_json_text", 300)
def _():
    import pumlc

    def call(folder, files):
        predictor = pumlc.load(folder, device="cpu")
        predictor.predict(["red apple"])

    return [text_run()], json_file("run.json"), call


@target("text_folder", 500)
def _():
    import pumlc

    def mutate(f, rng):
        name = rng.choice(
            [
                "labels.json",
                "labels.json",
                "encoder/config.json",
                "encoder/tokenizer.json",
                "encoder/tokenizer_config.json",
            ]
        )
        return json_file(name)(f, rng)

    def call(folder, files):
        predictor = pumlc.load(folder, device="cpu")
        scores, _ = predictor.predict(["red apple"])
        if not np.isfinite(scores).all():
            raise Wrong("scores are not finite")

    return [text_run()], mutate, call


@target("manifest", 3000)
def _():
    from pumlc.labels import read_manifest

    labels = np.array([[1, 0, 0], [-1, 1, 0], [0, 0, 1]], np.int8)
    truth = np.array([[1, -1, 1], [-1, 1, -1], [1, -1, 1]], np.int8)
    from pumlc.labels.manifest import PackedLabels, compare, write_manifest

    p = base / "m.npz"
    write_manifest(
        p,
        compare(PackedLabels.pack(truth), labels, protocol="p", seed=0, parameters={"known": 0.1}),
    )
    files = {"label_manifest.npz": p.read_bytes()}
    arrays = dict(np.load(p))

    def mutate(f, rng):
        if rng.random() < 0.3:
            return any_of(f, rng, ["label_manifest.npz"])
        new = dict(arrays)
        name = rng.choice(list(new))
        if name == "header":
            new[name] = np.array(
                dump(mutate_json(json.loads(str(new[name])), rng)).decode("utf-8", "replace")
            )
        elif name == "mask_hash":
            new[name] = np.array("0" * 12)
        else:
            new[name] = odd_array(new[name], rng)
        if rng.random() < 0.1:
            del new[name]
        return {"label_manifest.npz": npz(**new)}

    def call(folder, files):
        manifest = read_manifest(folder / "label_manifest.npz")
        try:
            restored = manifest.restore(labels)
        except ValueError as e:
            if "label_manifest" in str(e) or "those of the manifest" in str(e):
                return
            raise
        if not (restored == truth).all():
            raise Wrong("restored labels are not the true ones")

    return [files], mutate, call


@target("seen", 1500)
def _():
    from pumlc.vision.data.images import LabelledImages
    from pumlc.vision.data.seen import count_seen

    files = {
        "pictures.npz": npz(
            train=np.array([1, 2, 3], np.uint64), validation=np.array([4], np.uint64)
        )
    }
    arrays = dict(np.load(io.BytesIO(files["pictures.npz"])))

    def mutate(f, rng):
        if rng.random() < 0.4:
            return any_of(f, rng, ["pictures.npz"])
        new = dict(arrays)
        name = rng.choice(list(new))
        new[name] = odd_array(new[name], rng)
        return {"pictures.npz": npz(**new)}

    def call(folder, files):
        images = LabelledImages(
            "x", folder, np.array([b"a.png"]), np.zeros((1, 1), np.int8), ("A",)
        )
        count_seen(folder / "pictures.npz", images, str(folder))

    return [files], mutate, call


@target("safetensors", 3000)
def _():
    import safetensors.torch

    from pumlc.engine.checkpoint import load_into

    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    good = safetensors.torch.save(model.state_dict())
    n = struct.unpack("<Q", good[:8])[0]
    header = json.loads(good[8 : 8 + n])
    body = good[8 + n :]

    def mutate(f, rng):
        if rng.random() < 0.4:
            return any_of(f, rng, ["w.safetensors"])
        if rng.random() < 0.3:
            state = model.state_dict()
            name = rng.choice(list(state))
            state[name] = state[name].to(
                rng.choice(
                    [
                        torch.float64,
                        torch.float16,
                        torch.int8,
                        torch.bool,
                        torch.complex64,
                        torch.bfloat16,
                        torch.float8_e4m3fn,
                    ]
                )
            )
            if (
                rng.random() < 0.3
                and state[name].is_floating_point()
                and state[name].dtype != torch.float8_e4m3fn
            ):
                state[name] = torch.full_like(state[name], float("nan"))
            return {"w.safetensors": safetensors.torch.save(state)}
        new = dump(mutate_json(header, rng))
        return {"w.safetensors": struct.pack("<Q", len(new)) + new + body}

    original = {k: v.clone() for k, v in model.state_dict().items()}

    def call(folder, files):
        model.load_state_dict(original)
        load_into(model, folder / "w.safetensors")
        state = safetensors.torch.load(files["w.safetensors"])
        for k, v in state.items():
            if v.dtype != original[k].dtype and not (
                v.is_floating_point() and original[k].is_floating_point()
            ):
                raise Wrong(f"{v.dtype} taken as {original[k].dtype}")
            if v.is_floating_point() and not v.float().isfinite().all():
                raise Wrong("weights that are not finite are taken")

    return [{"w.safetensors": good}], mutate, call


@target("pth", 2500)
def _():
    import timm

    import pumlc.vision.models.weights as m

    network = timm.create_model("test_efficientnet", num_classes=0)
    small = {k: v for k, v in network.state_dict().items()}
    b = io.BytesIO()
    torch.save(small, b)
    t = io.BytesIO()
    torch.save({"state_dict": {"a": torch.zeros(2)}}, t)
    old = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, old, _use_new_zipfile_serialization=False)

    def odd(rng):
        o = io.BytesIO()
        torch.save(
            rng.choice(
                [
                    {},
                    [],
                    None,
                    5,
                    "x",
                    {"a": 1},
                    {"state_dict": 3},
                    {"state_dict": {1: torch.zeros(1)}},
                    {"model": {"x": None}},
                    torch.zeros(3),
                    {"a": torch.zeros(2).to_sparse()},
                    {1: 2},
                ]
            ),
            o,
        )
        return o.getvalue()

    def mutate(f, rng):
        if rng.random() < 0.1:
            return {"w.pth": odd(rng)}
        return any_of(f, rng, ["w.pth"])

    def call(folder, files):
        m.load_backbone(network, m.read_weights(folder / "w.pth"), str(folder / "w.pth"))

    return (
        [{"w.pth": t.getvalue()}, {"w.pth": old.getvalue()}, {"w.pth": b.getvalue()}],
        mutate,
        call,
    )


@target("state_pt", 1500)
def _():
    from pumlc.engine.checkpoint import Checkpoint

    state = {
        "epoch": 1,
        "seconds": 1.0,
        "best": {},
        "metrics": [],
        "task": {},
        "optimizer": {},
        "schedule": {},
    }
    b = io.BytesIO()
    torch.save(state, b)
    return (
        [{"checkpoint/state.pt": b.getvalue()}],
        lambda f, rng: any_of(f, rng, ["checkpoint/state.pt"]),
        lambda folder, files: Checkpoint(folder).load(),
    )


@target("token_cache", 2000)
def _():
    from pumlc.text.data.tokens import cached_tokens, tokenize

    sys.path.insert(0, str(c.PROJECT / "tests" / "text"))
    text_run()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(base / "texts" / "bert"))
    texts = ["red apple runs", "", "blue car", "green bird swims flies"]
    folder = base / "tokens"
    cached_tokens(texts, tokenizer, max_length=8, folder=folder)
    right = tokenize(texts, tokenizer, max_length=8)
    entry = next(p for p in folder.iterdir() if p.is_dir())
    files = {f"{entry.name}/{p.name}": p.read_bytes() for p in entry.iterdir()}
    names = list(files)

    def mutate(f, rng):
        offsets = next(n for n in names if n.endswith("npy"))
        if rng.random() < 0.4:
            o = io.BytesIO()
            np.save(o, odd_array(np.load(io.BytesIO(f[offsets])), rng))
            return {**f, offsets: o.getvalue()}
        return any_of(f, rng, names)

    def call(folder, files):
        tokens = cached_tokens(texts, tokenizer, max_length=8, folder=folder)
        if not (
            np.array_equal(tokens.ids, right.ids) and np.array_equal(tokens.offsets, right.offsets)
        ):
            raise Wrong("other token ids than those of the texts")

    return [files], mutate, call


@target("feature_cache", 2000)
def _():
    from pumlc.vision.frozen.cache import _checksum
    from pumlc.vision.frozen.cache import _read as _read_cache

    features = np.random.RandomState(0).rand(5, 4).astype(np.float32)
    name = f"f-{_checksum(features)}.npy"  # the name of a file of features holds their checksum
    o = io.BytesIO()
    np.save(o, features)

    def mutate(f, rng):
        if rng.random() < 0.4:
            o = io.BytesIO()
            np.save(o, odd_array(features, rng))
            return {name: o.getvalue()}
        return any_of(f, rng, [name])

    def call(folder, files):
        found = _read_cache(folder / name, 5)
        if found.dtype.kind != "f":
            raise Wrong(f"features of type {found.dtype.kind} are taken")
        if found.shape != features.shape:
            raise Wrong(f"shape {found.shape}")
        if not np.isfinite(found).all():
            raise Wrong("features that are not finite are taken")
        if not np.array_equal(found, features):
            raise Wrong("other numbers than were written are taken")

    return [{name: o.getvalue()}], mutate, call


@target("yaml_config", 3000)
def _():
    from pumlc.engine.command_line import parse, task_of
    from pumlc.vision.config import VisionConfig

    text = (c.PROJECT / "configs" / "csv_lite0_cpu.yaml").read_bytes()
    extra = [
        b"!!python/object/apply:os.system ['true']",
        b"&a [*a]",
        b"? [1]\n: 2\n",
        b"<<: *x",
        b"!!binary x",
        b"2001-01-01",
        b"1: 2\n",
        b"- a\n",
        b"@x",
        b"%YAML 9",
        b"{class_path: os.system}",
    ]

    def mutate(f, rng):
        data = f["c.yaml"]
        if rng.random() < 0.3:
            at = rng.randrange(len(data))
            data = data[:at] + rng.choice(extra) + data[at:]
            return {"c.yaml": data}
        return any_of(f, rng, ["c.yaml"])

    def call(folder, files):
        arguments = ["--config", str(folder / "c.yaml")]
        task_of(arguments)
        parse(VisionConfig, arguments, program="x")

    return [{"c.yaml": text}], mutate, call


@target("word_vectors", 1500)
def _():
    from pumlc.vision.models.class_vectors import read_word_vectors

    def call(folder, files):
        found = read_word_vectors(folder / "v.txt", ["traffic light", "car"])
        if not torch.isfinite(found).all():
            raise Wrong("vectors that are not finite are taken")

    return (
        [{"v.txt": b"traffic 0.1 0.2\nlight 1 2\ncar 3 4\n"}],
        lambda f, rng: any_of(f, rng, ["v.txt"]),
        call,
    )


# ---- the engine
def fault_of(call, folder, files, rss0):
    """None or (kind, where, message)."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        write(folder, {k: v for k, v in files.items() if k != ".truth"})
    except (OSError, ValueError):
        return None
    signal.setitimer(signal.ITIMER_REAL, 20)
    try:
        call(folder, files)
    except Hang:
        return "Hang", "", "longer than 20 s"
    except Wrong as error:
        return "SilentWrong", re.sub(r"[\d.]+|'[^']*'|\{.*", "#", str(error))[:60], str(error)[:300]
    except ValueError as error:
        text = str(error)
        own = [Path(n) for n in files if n != ".truth" and Path(n).suffix not in (".png", ".jpg")]
        if (
            any(p.name in text or len(p.stem) > 5 and p.stem in text for p in own)
            or str(folder) in text
        ):
            return None
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "/pumlc/" in f.filename]
        at = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "?"
        return "NoFileInMessage", at + " " + type(error).__name__, text[:200]
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "/pumlc/" in f.filename]
        at = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "?"
        return type(error).__name__, at, str(error)[:200]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


def small(call, folder, files, fault, names, rng):
    """Shorter files with the same fault."""
    end = time.time() + 8
    for name in names:
        data, step = files[name], max(1, len(files[name]) // 2)
        while step >= 1 and time.time() < end:
            at = 0
            while at < len(data) and time.time() < end:
                shorter = data[:at] + data[at + step :]
                found = fault_of(call, folder, {**files, name: shorter}, 0)
                if found and found[:2] == fault[:2]:
                    data = shorter
                else:
                    at += step
            step //= 2
        files = {**files, name: data}
    return files


def alarm(*_):
    raise Hang()


def work(name, cases, maker, out):
    signal.signal(signal.SIGALRM, alarm)
    seeds, mutate, call = maker()
    size = int(open("/proc/self/statm").read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (size + 3 * 2**30, -1))
    folder = base / f"case_{name}"
    rng = random.Random(f"{name}{SEED}")
    faults, count = {}, 0
    start = time.time()
    for number in range(cases):
        seed = seeds[number % len(seeds)]
        files = seed if number < len(seeds) else mutate(seed, rng)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        (base / f"{name}.current").write_bytes(
            repr({k: v for k, v in files.items() if seed.get(k) != v}).encode()
        )
        fault = fault_of(call, folder, files, before)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        if fault is None and grown > 700_000:
            fault = (
                "Memory",
                "",
                f"{grown // 1024} MiB for a file of {sum(map(len, files.values()))} bytes",
            )
        count += 1
        if fault:
            key = fault[:2]
            if key not in faults:
                changed = [k for k, v in files.items() if seed.get(k) != v]
                least = (
                    small(
                        call,
                        folder,
                        files,
                        fault,
                        [k for k in changed if k != ".truth" and len(files[k]) < 20000],
                        rng,
                    )
                    if fault[0] not in ("Hang", "Memory", "MemoryError") and ".truth" not in files
                    else files
                )
                again = fault_of(call, folder, least, 0) or fault
                faults[key] = [1, again[2], {k: repr(least[k])[:400] for k in changed}]
            else:
                faults[key][0] += 1
        if time.time() - start > 420:
            break
    out.write_text(
        json.dumps(
            {
                "cases": count,
                "seconds": round(time.time() - start),
                "faults": [[*k, *v] for k, v in faults.items()],
            }
        )
    )


total, distinct, report = 0, 0, []
for name, (cases, maker) in TARGETS.items():
    if ONLY and not name.startswith(ONLY):
        continue
    out = base / f"{name}.json"
    if name in ("run_json", "index_json"):
        vision_run()
    if name in ("run_json_text", "text_folder", "token_cache"):
        text_run()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        try:
            work(name, int(cases * SCALE), maker, out)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(3)
    code = c.wait(pid, 600)
    if not out.exists():
        print(
            f"{name}: the process died ({code}) in case {(base / f'{name}.current').read_text()[:500] if (base / f'{name}.current').exists() else '?'}"
        )
        distinct += 1
        continue
    found = json.loads(out.read_text())
    total += found["cases"]
    distinct += len(found["faults"])
    print(
        f"{name}: {found['cases']} cases, {found['seconds']} s, {len(found['faults'])} distinct faults",
        flush=True,
    )
    for kind, where, times, message, files in found["faults"]:
        print(
            f"   {kind} x{times} {where}: {message!r}\n      {json.dumps(files)[:600]}", flush=True
        )
print(f"{'FAULTS' if distinct else 'ok'} {total} cases, {distinct} distinct faults")
sys.exit(bool(distinct))
