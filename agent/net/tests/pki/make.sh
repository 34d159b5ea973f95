#!/bin/sh
# Makes the certificates that the tests use: one authority, a server and a client. They are for
# tests alone; their keys are public.
set -eu
cd "$(dirname "$0")"
key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }
key ca-key.tmp
openssl req -x509 -new -key ca-key.tmp -days 36500 -subj "/CN=Lictor test authority" -out ca.pem
for who in server client; do
    key $who-key.pem
    openssl req -new -key $who-key.pem -subj "/CN=$who.dc1.consul" -out $who.tmp
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n' > ext.tmp
    openssl x509 -req -in $who.tmp -CA ca.pem -CAkey ca-key.tmp -CAcreateserial -CAserial serial.tmp \
        -days 36500 -extfile ext.tmp -out $who.pem
done
rm -f ./*.tmp
