# docker build --build-arg VERSION=0.1.0 --build-arg COMMIT=$(git rev-parse HEAD) -t unisondb .

FROM golang:1.26-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends liblmdb-dev libzmq3-dev pkg-config \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# The dependencies first: they stay in the cache while the code changes.
COPY go.mod go.sum ./
COPY sdk/go.mod sdk/go.sum sdk/
RUN go mod download
COPY . .
ARG VERSION=0.1.0-dev
ARG COMMIT=unknown
ARG DATE=unknown
RUN make install DESTDIR=/out PREFIX=/usr VERSION="$VERSION" COMMIT="$COMMIT" DATE="$DATE"

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libzmq5 \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --system --gid 10001 unisondb \
 && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/unisondb --shell /usr/sbin/nologin unisondb \
 && install -d -o unisondb -g unisondb -m 0700 /var/lib/unisondb \
 && install -d /etc/unisondb \
 && ln -s ../lib/unisondb/unisondb /usr/bin/unisondb
# With the plugins, which the program looks for beside itself; a COPY of the link would copy the program.
COPY --from=build /out/usr/lib/unisondb /usr/lib/unisondb
# A number, so that who runs the image can see that it isn't root.
USER 10001:10001
VOLUME /var/lib/unisondb
# HTTP and gRPC.
EXPOSE 4000 4001
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s CMD ["unisondb", "status"]
ENTRYPOINT ["unisondb"]
CMD ["server", "-config=/etc/unisondb"]
