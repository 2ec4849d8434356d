# upscale in a container: `docker build -t upscaler .`, then tools/try_image.sh.
FROM python:3.13-slim

# OpenCV's wheel links with the first two; torch's packages bring CUDA, the host's driver brings the rest. By wget,
# KubeRay asks its pods whether they are alive (https://github.com/ray-project/kuberay/issues/2063).
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 wget \
    && rm -rf /var/lib/apt/lists/*

# As a wheel; the sources stay in a layer below, of 22 MB. `ray[default]` has the dashboard, without which a cluster
# takes no jobs.
COPY . /source
RUN pip install --no-cache-dir '/source[cluster,formats,remote]' 'ray[default]' && rm -rf /source

# Files of a mounted folder belong to the user who runs it: `docker run --user "$(id -u):$(id -g)"`.
# /work is for those who mount nothing there.
RUN useradd --create-home --uid 1000 upscaler && install --directory --owner=upscaler /work
USER upscaler
ENV UPSCALER_CACHE=/tmp/upscaler
WORKDIR /work
ENTRYPOINT ["upscale"]
