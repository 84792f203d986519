# Build: docker build --build-arg VERSION=1.2.3 --build-arg COMMIT=$(git rev-parse HEAD) -t segment-saasquatch .
# Run:   docker run -p 8080:8080 -v segment-saasquatch:/data -e SEGMENT_SHARED_SECRET=… -e SAASQUATCH_TENANT_ALIAS=… -e SAASQUATCH_API_KEY=… segment-saasquatch

FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY adapter adapter
COPY mapping mapping
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=devel
ARG COMMIT=
# nomsgpack leaves out 6 MB of gin that nothing here uses.
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -tags nomsgpack -trimpath \
    -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT" \
    -o /out/segment-saasquatch ./cmd/segment-saasquatch \
    && mkdir /out/data

# CA certificates, time zones, and a user who is not root (65532); no shell.
FROM gcr.io/distroless/static-debian12:nonroot
ARG VERSION=devel
ARG COMMIT=
LABEL org.opencontainers.image.title="segment-saasquatch" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /out/segment-saasquatch /segment-saasquatch
# The events: mount a volume here, or set STORE.
COPY --from=build --chown=nonroot:nonroot /out/data /data
ENV DATA_DIR=/data
VOLUME /data
USER nonroot
# Metrics and the admin API listen on the loopback interface unless ADMIN_LISTEN_ADDR=:9090.
EXPOSE 8080 9090
HEALTHCHECK --interval=15s --timeout=5s --start-period=5s --retries=3 \
    CMD ["/segment-saasquatch", "healthcheck"]
ENTRYPOINT ["/segment-saasquatch"]
CMD ["serve"]
