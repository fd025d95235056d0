"""Run folders, weights, configs, manifests and caches of an attacker: is anything executed or written elsewhere?

python hostile.py; last line: figures; exit 1 if something was executed, overwritten or injected.
OLD_PY: an interpreter with the oldest declared versions, to try pickles with them as well.
"""

import csv
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import common as c

c.reexec()
base = c.fresh("hostile")
c.preload()
import numpy as np
import torch
from PIL import Image

faults, figures, log = [], {"tried": 0}, base / "log.txt"


def fault(severity, text):
    faults.append(text)
    print(f"FAULT [{severity}] {text}", flush=True)


MARK = base / "EXECUTED"


class Payload:
    def __reduce__(self):
        return (os.system, (f"touch {MARK}",))


def executed(what, severity="SERIOUS"):
    figures["tried"] += 1
    if MARK.exists():
        MARK.unlink()
        fault(severity, f"{what}: code was executed")
        return True
    print(f"nothing executed: {what}", flush=True)
    return False


data = base / "pictures"
data.mkdir()
csv_file = c.pictures_csv(data, 24, 8)
settings = c.vision_settings(data, train__epochs=1, train__ema_decay="null")
good = base / "good"
assert c.run_tool("train", [*settings, "--out", good], log) == 0, log.read_text()[-1500:]
texts = base / "texts"
texts.mkdir()
c.text_data(texts)
goodt = base / "goodt"
assert c.run_tool("train", [*c.text_settings(texts, train__epochs=1), "--out", goodt], log) == 0


def copy(source=good):
    run = base / "run"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(source, run)
    return run


def edit(run, **changes):
    content = json.loads((run / "run.json").read_text())
    for name, value in changes.items():
        node = content
        *path, last = name.split("__")
        for p in path:
            node = node[p]
        node[last] = value
    (run / "run.json").write_text(json.dumps(content))
    return run


def tool(name, *arguments, hook=None, timeout=90):
    out = base / "out.txt"
    out.unlink(missing_ok=True)
    code = c.run_tool(name, arguments, out, hook, timeout)
    return code, out.read_text(errors="replace") if out.exists() else ""


def last(text):
    return (text.strip().splitlines() or [""])[-1][:160]


def load(run, py=c.PY, predict=True, cwd=base, code=None):
    code = (
        code
        or f"import pumlc, numpy as np; p = pumlc.load({str(run)!r}, device='cpu'); print(type(p).__name__)"
    )
    return subprocess.run(
        [py, "-c", code],
        cwd=cwd,
        env=c.ENV,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


# 1 pickles
evil = pickle.dumps(Payload())


def evil_pt(path):
    torch.save({"a": Payload()}, path)


for suffix in (".pth", ".pt", ".bin"):
    evil_pt(base / f"evil{suffix}")
    code, text = tool(
        "train", *settings, "--model.weights", base / f"evil{suffix}", "--out", base / "x1"
    )
    executed(f"train --model.weights evil{suffix} (exit {code}: {last(text)})")
old = os.environ.get("OLD_PY")
if old:
    p = subprocess.run(
        [
            old,
            "-c",
            f"from pumlc.vision.models.classifier import create_classifier; create_classifier('test_efficientnet', 3, local_global=False, head='linear', weights={str(base / 'evil.pth')!r})",
        ],
        env=c.ENV,
        capture_output=True,
        text=True,
        timeout=200,
    )
    executed(
        f"create_classifier(weights='evil.pth') with the oldest declared timm ({last(p.stderr)})"
    )
run = copy()
evil_pt(run / "checkpoint" / "state.pt")
code, text = tool("train", "--out", run, "--resume")
executed(f"--resume with an evil state.pt (exit {code}: {last(text)})")
objects = io.BytesIO()
np.savez(
    objects,
    **{
        n: np.array([Payload()], object)
        for n in ("header", "shape", "mask_hash", "changed", "positive", "train", "validation")
    },
)
run = copy()
(run / "label_manifest.npz").write_bytes(objects.getvalue())
code, text = tool("audit", run, "--out", base / "a.csv")
executed(f"audit with an evil label_manifest.npz (exit {code}: {last(text)})")
if code not in (0, 2) or "Traceback" in text:
    fault("low", f"audit with an evil manifest: {last(text)}")
run = copy()
(run / "pictures.npz").write_bytes(objects.getvalue())
code, text = tool("evaluate", run)
executed(f"evaluate with an evil pictures.npz (exit {code}: {last(text)})")
run = copy()
shutil.copy(base / "evil.pth", run / "weights" / "best.safetensors")
p = load(run)
executed(f"load with a pickle named best.safetensors ({last(p.stderr)})")
run = copy(goodt)
evil_pt(run / "encoder" / "pytorch_model.bin")
p = load(run)
executed(f"text load with an evil encoder/pytorch_model.bin ({last(p.stdout)})")
from pumlc.text.data.tokens import cached_tokens
from pumlc.vision.frozen.cache import _read as _read_cache

obj = io.BytesIO()
np.save(obj, np.array([Payload()] * 5, object))
(base / "f.npy").write_bytes(obj.getvalue())
try:
    _read_cache(base / "f.npy", 5)
except ValueError:
    pass
executed("an evil feature cache")
cache = base / "tokens"
from transformers import AutoTokenizer

tk = AutoTokenizer.from_pretrained(str(texts / "bert"))
cached_tokens(["red"], tk, max_length=8, folder=cache)
(next(cache.iterdir()) / "offsets.npy").write_bytes(obj.getvalue())
try:
    cached_tokens(["red"], tk, max_length=8, folder=cache)
except ValueError:
    pass
executed("an evil token cache")
for source in ("xmc",):
    folder = base / "xmc"
    shutil.copytree(texts / "corpus", folder)
    (folder / "Y.trn.npz").write_bytes(objects.getvalue())
    code, text = tool("train", *c.text_settings(texts), "--data.root", folder, "--out", base / "x2")
    executed(f"an evil Y.trn.npz (exit {code}: {last(text)})")
bert = base / "evilbert"
shutil.copytree(texts / "bert", bert)
(bert / "model.safetensors").unlink()
evil_pt(bert / "pytorch_model.bin")
code, text = tool("train", *c.text_settings(texts), "--encoder.model", bert, "--out", base / "x3")
executed(f"encoder.model with an evil pytorch_model.bin (exit {code}: {last(text)})")
# 2 code beside a model: auto_map, trust_remote_code
for where in ("config.json", "tokenizer_config.json"):
    run = copy(goodt)
    file = run / "encoder" / where
    content = json.loads(file.read_text())
    content |= {
        "auto_map": {
            "AutoConfig": "evil.C",
            "AutoModel": "evil.M",
            "AutoTokenizer": ["evil.T", "evil.T"],
        },
        "model_type": "evil",
        "tokenizer_class": "EvilTokenizer",
    }
    file.write_text(json.dumps(content))
    (run / "encoder" / "evil.py").write_text(
        f"import os; os.system('touch {MARK}')\nclass C: pass\nM = T = C\n"
    )
    p = load(run)
    executed(f"text load with auto_map in {where} ({last(p.stderr)})")
    import pty

    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(base)
        os.execve(
            c.PY, [c.PY, "-c", f"import pumlc; pumlc.load({str(run)!r}, device='cpu')"], c.ENV
        )
    shown = b""
    end = time.time() + 60
    answered = False
    while time.time() < end:
        try:
            part = os.read(fd, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
        if b"[y/N]" in shown and not answered:
            os.write(fd, b"y\n")
            answered = True
    os.close(fd)
    os.waitpid(pid, 0)
    if answered:
        print(f"in a terminal pumlc.load asks whether to run code of the folder ({where})")
    executed(f"text load in a terminal, the question answered with y ({where})", "medium")
# 3 YAML, class_path
(base / "evil.py").write_text(f"import os; os.system('touch {MARK}')\nclass C: pass\n")
for label, text_ in (
    ("a YAML tag", f"data: !!python/object/apply:os.system ['touch {MARK}']\n"),
    ("class_path", "data: {class_path: evil.C, init_args: {}}\nmodel: {class_path: evil.C}\n"),
):
    (base / "evil.yaml").write_text(text_)
    p = subprocess.run(
        [
            c.PY,
            "-c",
            f"import sys, runpy; sys.argv = ['train.py', '--config', {str(base / 'evil.yaml')!r}, '--out', 'x']; runpy.run_path({str(c.PROJECT / 'tools/train.py')!r}, run_name='__main__')",
        ],
        cwd=base,
        env=c.ENV,
        capture_output=True,
        text=True,
        timeout=120,
    )
    executed(f"{label} in --config, a module beside it ({last(p.stderr)})")
for field in ("data", "model", "loss", "train"):
    run = edit(copy(), **{f"config__{field}": {"class_path": "evil.C", "init_args": {}}})
    shutil.copy(base / "evil.py", run / "evil.py")
    p = load(".", cwd=run)
    executed(
        f"pumlc.load('.') inside a run folder with evil.py and class_path in run.json: {field} ({last(p.stderr)})"
    )
for key, value in (
    ("data.noise", "evil.C"),
    ("data.noise", {"class_path": "evil.C"}),
    ("features.class_path", "evil.C"),
    ("train.class_path", "evil.C"),
):
    run = copy()
    content = json.loads((run / "run.json").read_text())
    content["config"][key] = value
    (run / "run.json").write_text(json.dumps(content))
    shutil.copy(base / "evil.py", run / "evil.py")
    p = load(".", cwd=run)
    executed(f"a dotted name in run.json, a module beside it: {key}={value} ({last(p.stderr)})")
# 4 names of networks and of places
asked = base / "asked.txt"
spy = f"""
import socket, json
plain = socket.getaddrinfo
def noted(host, *a, **k):
    open({str(asked)!r}, "a").write(str(host) + "\\n"); raise socket.gaierror("no network here")
socket.getaddrinfo = noted
import pumlc
"""
online = {k: v for k, v in c.ENV.items() if k != "HF_HUB_OFFLINE"}


def network(label, run, cwd=base):
    asked.unlink(missing_ok=True)
    figures["tried"] += 1
    p = subprocess.run(
        [c.PY, "-c", spy + f"pumlc.load({str(run)!r}, device='cpu')"],
        cwd=cwd,
        env=online,
        capture_output=True,
        text=True,
        timeout=180,
    )
    hosts = sorted(set(asked.read_text().split())) if asked.exists() else []
    print(f"{label}: asks {hosts}; {last(p.stderr)[:120]}", flush=True)
    if hosts:
        fault("medium", f"{label}: pumlc.load asks {hosts}")


network(
    "run.json with model.backbone hf-hub:attacker/model",
    edit(copy(), config__model__backbone="hf-hub:attacker/model"),
)
run = copy(goodt)
shutil.rmtree(run / "encoder")
network("text run without its folder encoder, named by a relative path", "run", base)
run = copy(goodt)
shutil.rmtree(run / "encoder")
(run / "encoder").mkdir()
(run / "encoder" / "tokenizer_config.json").write_text("{}")
(run / "encoder" / "config.json").write_text(
    json.dumps({"_name_or_path": "attacker/model", "base_model_name_or_path": "attacker/model"})
)
(run / "encoder" / "adapter_config.json").write_text(
    json.dumps({"base_model_name_or_path": "attacker/model", "peft_type": "LORA"})
)
network("text run whose encoder names another model", run)
run = copy(goodt)
network("a good text run", run)
network("a good vision run", copy())
local = base / "localdir"
local.mkdir()
(local / "config.json").write_text(
    json.dumps(
        {
            "architecture": "test_efficientnet",
            "model_args": {"act_layer": "os.system"},
            "pretrained_cfg": {},
        }
    )
)
p = load(edit(copy(), config__model__backbone=f"local-dir:{local}"))
executed(f"model.backbone local-dir: ({last(p.stderr) or last(p.stdout)})")
# weights outside of the folder
run = copy()
index = json.loads((run / "weights/index.json").read_text())
shutil.copy(run / "weights/best.safetensors", base / "outside.safetensors")
index["../../outside"] = {**index["best"], "score": 1e9}
(run / "weights/index.json").write_text(json.dumps(index))
p = load(
    run,
    code=f"import pumlc; print(pumlc.load({str(run)!r}, device='cpu').run.weights_file(pumlc.load({str(run)!r}, device='cpu').weights))",
)
figures["tried"] += 1
if "outside" in p.stdout:
    fault(
        "low",
        f"index.json with the name '../../outside': weights outside of the folder are loaded: {last(p.stdout)}",
    )
# 5 links in a run folder: what is overwritten
for label, link, command in (
    ("evaluate", "metrics.json.tmp", ("evaluate",)),
    ("audit", "audit.csv.tmp", ("audit",)),
    ("--resume", "weights/index.json.tmp", None),
    ("--resume", "label_manifest.npz.tmp", None),
    ("--resume", "metrics.csv.tmp", None),
):
    victim = base / "victim"
    victim.write_text("precious\n")
    run = copy()
    figures["tried"] += 1
    (run / link).unlink(missing_ok=True)
    os.symlink(victim, run / link)
    if command:
        code, text = tool(command[0], run)
    else:
        shutil.rmtree(run / "checkpoint")
        code, text = tool("train", "--out", run, "--resume")
    if victim.read_text(errors="replace") != "precious\n":
        fault(
            "medium",
            f"{label} on a foreign run folder writes through the link {link}: a file elsewhere is overwritten with {victim.read_bytes()[:60]!r}",
        )
    else:
        print(f"{label} with a link {link}: nothing overwritten (exit {code}: {last(text)})")
# through a link into a shell's start file: class names with line breaks, from a COCO file
coco = base / "coco"
(coco / "annotations").mkdir(parents=True)
for split in ("train", "val"):
    (coco / split).mkdir()
    images = [{"id": i, "file_name": f"{i}.png"} for i in range(16)]
    for i in range(16):
        Image.fromarray(
            np.random.RandomState(i).randint(0, 255, (32, 32, 3)).astype(np.uint8)
        ).save(coco / split / f"{i}.png")
    names = [
        f"x\ntouch {MARK}\n",
        f"$(touch {MARK})",
        "=cmd|' /C calc'!A1",
        "\x1b]0;owned\x07\x1b[2J\x1b[31mred",
        "<script>alert(1)</script>",
        "@SUM(1+1)",
        "-2+3",
        "../../etc/passwd",
        'a,b"c',
        "‮abc",
        "",
        " ",
    ]
    cats = [{"id": i + 1, "name": n} for i, n in enumerate(names)]
    anns = [
        {"image_id": i, "category_id": k + 1}
        for i in range(16)
        for k in range(len(names))
        if (i + k) % 3 == 0
    ]
    (coco / "annotations" / f"instances_{split}.json").write_text(
        json.dumps({"images": images, "annotations": anns, "categories": cats})
    )
run = base / "crun"
cs = [*c.vision_settings(coco, train__epochs=1, data__name="coco", train__ema_decay="null")]
del cs[cs.index("--data.csv") : cs.index("--data.csv") + 2]
code, text = tool("train", *cs, "--out", run)
print(f"train with hostile class names: exit {code}: {last(text)}")
if code == 0:
    code, text = tool("evaluate", run, "--per-class")
    figures["tried"] += 1
    if "\x1b" in text:
        fault("low", "evaluate --per-class prints terminal escape codes of class names raw")
    table = [l for l in text.splitlines() if l.startswith("|")]
    if any(l.startswith("touch") for l in text.splitlines()):
        fault(
            "low",
            "evaluate --per-class: a class name with a line break makes lines of its own in the table",
        )
    code, text = tool("prepare", "coco", coco, "--per-class")
    figures["tried"] += 1
    if "\x1b" in text:
        fault("low", "prepare --per-class prints terminal escape codes of class names raw")
    code, text = tool("predict", run, coco / "val" / "0.png", "--out", base / "p.csv")
    rows = list(csv.reader((base / "p.csv").open(newline="")))
    figures["tried"] += 1
    # the class named "" is no formula, though the empty text is in every text
    formulas = [r[1] for r in rows if r[1] and r[1][:1] in "=@+-"]
    if len(rows) != 1 + len(names):
        fault("medium", f"predictions.csv: {len(rows)} rows for {len(names)} classes")
    if formulas:
        fault(
            "low", f"predictions.csv: class names that a spreadsheet takes as formulas: {formulas}"
        )
    # a data set of two classes whose names are harmless CSV and shell commands
    content = json.loads((coco / "annotations" / "instances_train.json").read_text())
    content["categories"] = [{"id": 1, "name": f"$(touch {MARK})"}, {"id": 2, "name": "b"}]
    content["annotations"] = [a for a in content["annotations"] if a["category_id"] < 3]
    for split in ("train", "val"):
        (coco / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    chain = base / "chain"
    code, text = tool("train", *cs, "--out", chain)
    victim = base / "victim_rc"
    victim.write_text("# shell\n")
    os.symlink(victim, chain / "audit.csv.tmp")
    code, text = tool("audit", chain)
    subprocess.run(["bash", str(victim)], capture_output=True, cwd=base)
    executed(
        f"audit (exit {code}) of a foreign run folder: audit.csv.tmp is a link to a shell's start file, a class is named $(...): the next shell",
        "SERIOUS",
    )
    if shutil.which("python3"):
        code, text = tool("export", run, "--out", base / "m.onnx")
        figures["tried"] += 1
        if code == 0:
            import onnx

            meta = {p.key: p.value for p in onnx.load(str(base / "m.onnx")).metadata_props}
            if json.loads(meta["classes"]) != names:
                fault("medium", "ONNX metadata: other class names")
        else:
            print("export:", last(text))
# a picture whose content is PostScript: Pillow starts gs
bin_ = base / "bin"
bin_.mkdir()
(bin_ / "gs").write_text(f"#!/bin/sh\ntouch {MARK}\nexit 1\n")
(bin_ / "gs").chmod(0o755)
(base / "cat.jpg").write_bytes(
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
)
p = subprocess.run(
    [
        c.PY,
        "-c",
        f"from pumlc.vision.data.decode import load_image; load_image({str(base / 'cat.jpg')!r})",
    ],
    env={**c.ENV, "PATH": f"{bin_}:{os.environ['PATH']}"},
    capture_output=True,
    text=True,
    timeout=60,
)
executed(
    f"PostScript named cat.jpg: Ghostscript is started where it is installed ({last(p.stderr)[:80]})",
    "medium",
)
# 6 JSON of great numbers and depth
for label, text_ in (
    ("deep run.json", "[" * 100000),
    ("run.json of a great number", '{"config": ' + "9" * 5000 + "}"),
    ("1e999", '{"config": {"task": "vision"}, "classes": 1e999}'),
):
    run = copy()
    (run / "run.json").write_text(text_)
    code, text = tool("predict", run, data / "test0.png")
    figures["tried"] += 1
    print(f"{label}: exit {code}: {last(text)[:100]}")
    if code != 2 or "Traceback" in text:
        fault("low", f"{label}: predict ends with exit {code}: {last(text)[:100]}")
run = copy()
content = json.loads((run / "run.json").read_text())
content["config"]["data"]["image_size"] = 200000
(run / "run.json").write_text(json.dumps(content))
figures["tried"] += 1


def limited():
    import resource

    size = int(open("/proc/self/statm").read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (size + 4 * 2**30, -1))


code, text = tool("predict", run, data / "test0.png", hook=limited)
print(f"image_size 200000 in run.json, 4 GiB: exit {code}: {last(text)[:120]}")
if code not in (0, 2):
    fault(
        "low", f"image_size 200000 in run.json: predict ends with exit {code}: {last(text)[:100]}"
    )
# 7 what pumlc.load executes
code = f"""
import sys, json
seen = []
sys.addaudithook(lambda e, a: seen.append((e, str(a)[:150])) if e in ("subprocess.Popen", "os.system", "exec", "compile", "socket.connect", "ctypes.dlopen", "os.posix_spawn", "os.exec") else None)
import pumlc
start = len(seen); pumlc.load({str(copy())!r}, device='cpu'); import collections
print(json.dumps([s for s in seen if s[0] in ("subprocess.Popen", "os.system", "socket.connect", "os.exec", "os.posix_spawn")][:10]))
"""
p = load(None, code=code)
print("pumlc.load starts or connects to:", last(p.stdout))
print(("FAULTS " if faults else "ok ") + str(len(faults)) + " " + json.dumps(figures))
sys.exit(bool(faults))
