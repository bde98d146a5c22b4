#!/bin/sh
# Installs Debian packages without starting their servers. Run as root: sh infra/xtask/install.sh PACKAGE...
set -eu

# One installation at a time.
exec 9>/var/cache/apt/cartulary-setup.lock
flock 9

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.d/cartulary.conf
own_policy=
trap 'rm -f "$log" "$cluster"; [ -z "$own_policy" ] || rm -f "$policy"' EXIT

# Debian starts the server of a package when it is installed, unless this policy denies it. A policy that exists stays.
if [ ! -e $policy ]; then
    own_policy=yes
    printf '#!/bin/sh\nexit 101\n' > $policy
    chmod 755 $policy
fi
# The package `postgresql` would create a database cluster; only its programs are needed.
mkdir -p "$(dirname $cluster)"
echo 'create_main_cluster = false' > $cluster

# The output of apt-get is shown on failure only.
export DEBIAN_FRONTEND=noninteractive
{ apt-get update && apt-get install --yes --no-install-recommends "$@"; } > "$log" 2>&1 || {
    cat "$log" >&2
    exit 1
}
