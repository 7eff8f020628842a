"""mesos-gateway: metadata, dependencies and entry points; the tools' settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

setup(
    name="mesos-gateway",
    version="0.1.0",
    description="A REST door for Apache Mesos: Aurora-style jobs, data clusters, one scheduler",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["gateway*", "gatewayctl*", "framework*", "executor*"]),
    package_data={"gateway.api.reference": ["page.html", "page.css"]},
    install_requires=[
        "tornado>=6.5.10",
        "pymesos==0.3.15",
        "docker>=7.1",
        "thriftpy2>=0.5.3",
        "Jinja2>=3.1.6",
        "SQLAlchemy>=2.0.36",
        "alembic>=1.14",
        "psycopg[binary]>=3.2",
        "kazoo>=2.10",
        "msgspec>=0.20",
        "jsonschema>=4.23",
        "prometheus-client>=0.21",
        "pystachio==0.8.10",
        "PyJWT[crypto]>=2.10",
        "click>=8.1",
        "httpx>=0.28",
        "PyYAML>=6",
        # For the scripts of products; cryptography, which makes their keys, comes with it.
        "fabric>=3.2.3,<4",
        "cryptography>=42",
    ],
    extras_require={
        "test": [
            "pytest>=9,<10",
            "pytest-xdist>=3.8,<4",
            "pytest-tornado==0.8.1",
            # pytest-tornado 0.8.1 imports pkg_resources, which later releases have dropped.
            "setuptools<81",
            "hypothesis>=6.150",
            "schemathesis>=4.20,<5",
            "kvstore==0.1.1",
            # Later releases of the command line break the client's plugin for it.
            "python-saharaclient==4.2.0",
            "python-openstackclient==6.3.0",
            "osc-lib==2.8.1",
            "ruff==0.17.5",
            "mypy==2.4.1",
        ],
        "pex": ["pex>=2.70"],
    },
    entry_points={
        "console_scripts": [
            "mesos-gateway = gateway.__main__:main",
            "mesos-gateway-framework = framework.__main__:main",
            "mesos-gateway-executor = executor.__main__:main",
            "mesos-gateway-local-mesos = framework.local.__main__:main",
            "mesos-gateway-quickstart = gateway.quickstart:main",
            "gatewayctl = gatewayctl.__main__:main",
        ],
        "mesos_gateway.plugins": [
            "fake = gateway.plugins.fake.plugin:FakePlugin",
            "spark = gateway.plugins.spark.plugin:SparkPlugin",
            "vanilla = gateway.plugins.vanilla.plugin:VanillaPlugin",
        ],
        "mesos_gateway.authenticators": [
            "jwt = gateway.auth.web_tokens:make",
            "keystone = gateway.auth.keystone:make",
        ],
    },
    classifiers=[
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
)
