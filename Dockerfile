# The service. Build: docker build -t augment .   Run: docker compose up, or docs/service.md.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# The static init is copied alone, so that the final stage needs no package manager.
RUN apt-get update && apt-get install --yes --no-install-recommends tini && rm -rf /var/lib/apt/lists/*
WORKDIR /build
RUN python -m venv --without-pip /opt/augment && python -m venv --without-pip /opt/build
# Dependencies before sources, so that a change of the sources does not install them again.
COPY requirements-service.lock requirements-build.lock ./
RUN python -m pip --python /opt/augment/bin/python install --no-cache-dir --require-hashes --only-binary :all: \
        -r requirements-service.lock \
    && python -m pip --python /opt/build/bin/python install --no-cache-dir --require-hashes --only-binary :all: \
        -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY augment ./augment
COPY service ./service
RUN /opt/build/bin/hatchling build --target wheel \
    && python -m pip --python /opt/augment/bin/python install --no-cache-dir --no-deps --no-index dist/*.whl

FROM ${BASE}
# A numeric user, so that an orchestrator can check that it is not root. Volumes inherit the home's owner.
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin augment \
    && install --directory --owner=augment --group=augment --mode=0750 /var/lib/augment \
    && install --directory /data
COPY --from=build /usr/bin/tini-static /usr/bin/tini
COPY --from=build /opt/augment /opt/augment
# All addresses: the service then refuses to start without AUGMENT_API_KEYS.
ENV PATH=/opt/augment/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    NO_ALBUMENTATIONS_UPDATE=1 \
    AUGMENT_HOST=0.0.0.0 \
    AUGMENT_PORT=8000 \
    AUGMENT_HOME=/var/lib/augment \
    AUGMENT_DATA_ROOTS=/data
WORKDIR /var/lib/augment
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/opt/augment/bin/python", "-c", \
    "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['AUGMENT_PORT'] + '/health/ready', timeout=4)"]
# tini is process 1: it forwards SIGTERM and reaps workers whose parent was killed.
ENTRYPOINT ["/usr/bin/tini", "--", "/opt/augment/bin/augment"]
CMD ["serve"]
