# GovTrack without the embedded servers: web, worker, beat and migrations are one image, told apart
# by their command (docker-compose.yml). Build: docker build -t govtrack .
ARG PYTHON_VERSION=3.12

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
WORKDIR /build
# The lock file alone first: a change of the code does not install everything again.
COPY requirements.lock ./
RUN /opt/venv/bin/pip install --require-hashes -r requirements.lock

FROM python:${PYTHON_VERSION}-slim-bookworm
RUN groupadd --system --gid 10001 govtrack \
    && useradd --system --uid 10001 --gid govtrack --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin govtrack
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=govtrack.settings \
    GOVTRACK_STATIC_ROOT=/app/staticfiles \
    GOVTRACK_STATIC_FROM_SOURCE=0
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY manage.py pyproject.toml README.md LICENSE ./
COPY apps apps
COPY evals evals
COPY govtrack govtrack
COPY static static
COPY templates templates
# Static files are collected now (needs no database and no key), and the code is compiled, because
# the root file system is read-only later. The `govtrack` command line takes its addresses from
# DATABASE_URL and REDIS_URL, which may come as files here.
RUN GOVTRACK_INSECURE_KEY=1 python manage.py collectstatic --noinput \
    && python -m compileall -q apps govtrack \
    && printf '%s\n' '#!/bin/sh' \
        'export DATABASE_URL="${DATABASE_URL:-$(cat "$DATABASE_URL_FILE")}"' \
        'export REDIS_URL="${REDIS_URL:-$(cat "$REDIS_URL_FILE")}"' \
        'exec python -m govtrack.cli "$@"' > /opt/venv/bin/govtrack \
    && chmod 0755 /opt/venv/bin/govtrack
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# 127.0.0.1 has to be among GOVTRACK_ALLOWED_HOSTS; /healthz is not redirected to TLS.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["gunicorn", "govtrack.wsgi:application", "--bind=0.0.0.0:8000", "--workers=2", \
    "--threads=4", "--worker-tmp-dir=/dev/shm", "--access-logfile=-", "--graceful-timeout=20", \
    "--no-control-socket"]
