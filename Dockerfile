# The proxy in a container: docker build -t mistral-cassette . && docker run -p 8080:8080 -v "$PWD/cassettes:/work/cassettes" mistral-cassette
FROM rust:1-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /source
COPY . .
RUN cargo build --release --locked --features cli,object-store,redis,sql && strip target/release/mistral-cassette

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /source/target/release/mistral-cassette /usr/local/bin/mistral-cassette
# Mount the cassettes here, readable by the user 65532, and writable to record.
WORKDIR /work
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/mistral-cassette"]
CMD ["proxy", "--listen", "0.0.0.0:8080", "--allow-remote"]
