ARG RUST_VERSION=1.95
FROM rust:${RUST_VERSION}-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /checkout
COPY . .
RUN scripts/build-static /out/refusal-collector

FROM scratch
ARG VERSION=""
ARG REVISION=""
LABEL org.opencontainers.image.title="refusal-collector" \
      org.opencontainers.image.description="An OpenTelemetry collector that makes model refusals a first-class, alertable outcome" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /out/refusal-collector /refusal-collector
USER 65532:65532
EXPOSE 4317 4318 8888 13133 55679
ENTRYPOINT ["/refusal-collector"]
