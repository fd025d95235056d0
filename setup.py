"""What setup.cfg cannot say: configs/ ships inside the package, as pumlc/configs."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["pumlc", "pumlc.*"]),
        "pumlc.configs",
        "pumlc.configs.sweeps",
    ],
    package_dir={"pumlc.configs": "configs", "pumlc.configs.sweeps": "configs/sweeps"},
    package_data={
        "pumlc": ["py.typed", "*.pyi"],
        "pumlc.estimators": ["*.pyi"],
        "pumlc.text": ["*.pyi"],
        "pumlc.vision": ["*.pyi"],
        "pumlc.report": ["templates/*"],
        "pumlc.configs": ["*.yaml"],
        "pumlc.configs.sweeps": ["*"],
    },
)
