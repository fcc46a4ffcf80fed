#!/bin/sh
# Starts OpenStack Swift with its S3 interface, to check the tracker against a server that is not ours:
#
#   apt-get install swift-proxy swift-account swift-container swift-object
#   tests/s3/swift.sh /tmp/swift-data 8089
#
# It stays in the foreground; interrupting it ends all four servers. The folder's file system must know
# extended attributes. A client finds it by
#
#   export AWS_ENDPOINT_URL_S3=http://127.0.0.1:8089 AWS_REGION=us-east-1
#   export AWS_ACCESS_KEY_ID=test:tester AWS_SECRET_ACCESS_KEY=testing
#
# and has to make its bucket.
set -eu
folder=${1:?usage: swift.sh <folder> [port]}
port=${2:-8089}
mkdir -p "$folder/etc" "$folder/devices/d1"
folder=$(cd "$folder" && pwd)
SWIFT_ETC="$folder/etc"
user=$(id -un)

cat >"$SWIFT_ETC/swift.conf" <<END
[swift-hash]
swift_hash_path_prefix = anneal
swift_hash_path_suffix = tests
[swift-constraints]
max_file_size = 5368709122
[storage-policy:0]
name = gold
default = yes
END

server() { # kind port
  cat >"$SWIFT_ETC/$1-server.conf" <<END
[DEFAULT]
devices = $folder/devices
mount_check = false
bind_ip = 127.0.0.1
bind_port = $2
workers = 1
user = $user
swift_dir = $SWIFT_ETC
log_level = WARNING
[pipeline:main]
pipeline = $1-server
[app:$1-server]
use = egg:swift#$1
END
  ring=$SWIFT_ETC/$1
  if [ ! -f "$ring.ring.gz" ]; then
    swift-ring-builder "$ring.builder" create 4 1 0 >/dev/null
    swift-ring-builder "$ring.builder" add --region 1 --zone 1 --ip 127.0.0.1 --port "$2" --device d1 --weight 1 >/dev/null
    swift-ring-builder "$ring.builder" rebalance >/dev/null
  fi
}
server account $((port + 1))
server container $((port + 2))
server object $((port + 3))

cat >"$SWIFT_ETC/proxy-server.conf" <<END
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $port
workers = 1
user = $user
swift_dir = $SWIFT_ETC
log_level = WARNING
[pipeline:main]
pipeline = catch_errors proxy-logging cache listing_formats bulk s3api tempauth copy slo dlo proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:cache]
use = egg:swift#memcache
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:copy]
use = egg:swift#copy
END

# Swift's own commands read swift.conf only from /etc/swift.
start='import sys
from swift.common import utils
folder, kind = sys.argv[1:]
utils.set_swift_dir(folder)
from swift.common.wsgi import run_wsgi
sys.exit(run_wsgi(f"{folder}/{kind}-server.conf", f"{kind}-server"))'
servers=
trap 'kill $servers 2>/dev/null; wait' EXIT INT TERM
for kind in account container object proxy; do
  /usr/bin/python3 -c "$start" "$SWIFT_ETC" "$kind" &
  servers="$servers $!"
done
wait
