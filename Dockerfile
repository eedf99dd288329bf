# floodgate in one image; every role is the same binary.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --profile dist --features kafka-tls,otel --locked && cp target/dist/floodgate /floodgate

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --create-home --home-dir /var/lib/floodgate floodgate
COPY --from=build /floodgate /usr/local/bin/floodgate
# by number, so that whoever runs it can see that it is not root; the default role keeps ./floodgate.db, and nothing else is written
USER 10001:10001
WORKDIR /var/lib/floodgate
# other containers, and what is published, could not reach loopback. Nothing is opened to them by mistake: a role does not start
# until it is told who may come, by FLOODGATE__ADMIN__TOKEN, or that whoever reaches it may, by FLOODGATE__HTTP__ALLOW_OPEN=true
# and FLOODGATE__ADMIN__ALLOW_OPEN=true
ENV FLOODGATE__HTTP__LISTEN=0.0.0.0:8080 FLOODGATE__ADMIN__LISTEN=0.0.0.0:9600
EXPOSE 8080 9600
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["bash", "-c", \
  "exec 3<>/dev/tcp/127.0.0.1/9600 && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && head -1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["floodgate"]
