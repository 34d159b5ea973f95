#!/bin/sh
# Lays out what is in the images, from programs that are built already:
#
#   docker/rootfs.sh <folder> <folder with lictor and lictor-demo>
#
# <folder>/lictor becomes the image of the agent, <folder>/demo that of the demo.
set -eu
out=$1
programs=$2
mkdir -p "$out/lictor/bin" "$out/lictor/etc/ssl/certs" "$out/lictor/tmp" \
    "$out/lictor/consul/data" "$out/lictor/consul/config" "$out/demo/bin" "$out/demo/etc/ssl/certs"
cp "$programs/lictor" "$out/lictor/bin/lictor"
cp "$programs/lictor-demo" "$out/demo/bin/lictor-demo"
chmod 755 "$out/lictor/bin/lictor" "$out/demo/bin/lictor-demo"
chmod 1777 "$out/lictor/tmp"
# Scripts call it by this name.
ln -sf lictor "$out/lictor/bin/consul"
# The numbers of the `consul` image, so that its volumes fit.
printf 'root:x:0:0:root:/:/\nconsul:x:100:1000:consul:/consul:/\n' >"$out/lictor/etc/passwd"
printf 'root:x:0:\nconsul:x:1000:\n' >"$out/lictor/etc/group"
printf 'hosts: files dns\n' >"$out/lictor/etc/nsswitch.conf"
cp "$out/lictor/etc/nsswitch.conf" "$out/demo/etc/nsswitch.conf"
# Authorities for HTTPS checks and metadata of clouds.
for certificates in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
    if [ -f "$certificates" ]; then
        cp "$certificates" "$out/lictor/etc/ssl/certs/ca-certificates.crt"
        break
    fi
done
