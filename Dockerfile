# upscale in a container: `docker build -t upscaler .`, then tools/try_image.sh.
FROM python:3.13-slim

# OpenCV's wheel links with both; torch's packages bring CUDA, the host's driver brings the rest.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

# From a wheel, so that the image holds neither sources nor build tools of ours.
COPY . /source
RUN pip install --no-cache-dir '/source[cluster,formats,remote]' && rm -rf /source

# Files of a mounted folder belong to the user who runs it: `docker run --user "$(id -u):$(id -g)"`.
RUN useradd --create-home --uid 1000 upscaler
USER upscaler
ENV UPSCALER_CACHE=/tmp/upscaler
WORKDIR /work
ENTRYPOINT ["upscale"]
