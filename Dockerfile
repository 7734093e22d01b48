# SPDX-License-Identifier: Apache-2.0
#
# Two images from one file: --target operator and --target agent.
#
# The agent takes BCC and libbpf from the distribution, so both share its Python. Packages are
# compiled to bytecode here, once: the containers' root file systems are read-only.
FROM docker.io/library/debian:bookworm-slim AS build
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        clang gcc libbpf-dev libc6-dev llvm python3 python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*

# What we depend on changes seldom: a step of its own. The operator does without rows
# and without a terminal.
COPY pyproject.toml /src/
WORKDIR /src
RUN python3 -c "import tomllib; \
project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
agent = project['dependencies']; \
both = [need for need in agent if not need.startswith(('numpy', 'rich', 'typer'))]; \
needs = {'agent': agent, 'operator': both + project['optional-dependencies']['operator']}; \
[open(f'/tmp/{name}.txt', 'w').write('\n'.join(needs[name])) for name in needs]" \
    && python3 -m venv --without-pip /opt/operator \
    && python3 -m venv --without-pip --system-site-packages /opt/agent \
    && python3 -m pip --python /opt/operator/bin/python install --no-cache-dir -r /tmp/operator.txt \
    && python3 -m pip --python /opt/agent/bin/python install --no-cache-dir -r /tmp/agent.txt

COPY . /src
RUN python3 -m pip wheel --no-cache-dir --no-deps --wheel-dir /tmp/wheel . \
    && python3 -m pip --python /opt/operator/bin/python install --no-cache-dir --no-deps /tmp/wheel/*.whl \
    && python3 -m pip --python /opt/agent/bin/python install --no-cache-dir --no-deps /tmp/wheel/*.whl \
    && rm -rf /tmp/wheel


FROM docker.io/library/debian:bookworm-slim AS operator
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && useradd --uid 65532 --user-group --no-create-home --home-dir / --shell /usr/sbin/nologin eunomia
COPY --from=build /opt/operator /opt/operator
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["/opt/operator/bin/python", "-m", "eunomia_operator"]


FROM docker.io/library/debian:bookworm-slim AS agent
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        libbpf1 libseccomp2 python3 python3-bpfcc \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY --from=build /opt/agent /opt/agent
# OpenBLAS would start a thread and take memory for each core; no linear algebra is done here.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1
# The command line is there for `kubectl exec`; the agent itself loads nothing of it.
ENV PATH=/opt/agent/bin:$PATH
ENTRYPOINT ["/opt/agent/bin/python", "-m", "eunomia_agent"]
