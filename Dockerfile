# Two images from one file:
#   docker build --target router   -t isolation-router .
#   docker build --target renderer -t isolation-renderer .
# Neither runs as root. The router image holds no browser; the renderer image holds no key, no store and no configuration.

FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY isolation isolation
COPY renderer renderer
COPY templates templates
RUN python -m venv /opt/isolation \
 && /opt/isolation/bin/pip install --no-cache-dir --disable-pip-version-check .

FROM python:3.12-slim-bookworm AS router
RUN useradd --system --uid 10001 --home-dir /var/lib/isolation --create-home --shell /usr/sbin/nologin isolation
COPY --from=build /opt/isolation /opt/isolation
ENV PATH=/opt/isolation/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001
VOLUME /var/lib/isolation
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9090/healthz', timeout=2)"]
ENTRYPOINT ["isolation", "--config", "/etc/isolation/isolation.yaml"]
CMD ["serve"]

FROM python:3.12-slim-bookworm AS renderer
RUN apt-get update \
 && apt-get install -y --no-install-recommends chromium-headless-shell fonts-dejavu-core fonts-liberation2 fonts-noto-core fonts-noto-cjk fonts-noto-color-emoji tini \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10002 --home-dir /var/lib/renderer --create-home --shell /usr/sbin/nologin renderer
COPY --from=build /opt/isolation /opt/isolation
ENV PATH=/opt/isolation/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10002
EXPOSE 9300
# tini reaps what Chromium leaves; the node refuses to start when the sandbox is not there (see deploy/compose.yaml for the seccomp profile).
ENTRYPOINT ["tini", "--", "python", "-m", "renderer", "--listen", "0.0.0.0:9300", "--runtime-dir", "/tmp/renderer"]
