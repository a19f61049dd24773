# Run as root by `cargo xtask setup` with: UPDATE (yes or no), then the packages.
#
# Some packages start a server when they are installed (postfix, docker.io). While apt-get runs,
# policy-rc.d tells them not to, as it does in image builds. One that is there already is the
# administrator's and stays as it is; one that a killed run of ours left behind says so.
set -eu
export DEBIAN_FRONTEND=noninteractive

guard=/usr/sbin/policy-rc.d
mark='# flowguard: only while packages are being installed'
if [ ! -e "$guard" ] || grep -qxF "$mark" "$guard"; then
    trap 'rm -f "$guard"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' HUP TERM
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$guard"
    chmod 755 "$guard"
fi

update=$1
shift
if [ "$update" = yes ]; then
    apt-get update -q
fi
for package; do
    if [ "$package" = postfix ]; then
        # Without this the package would configure a mail server for the whole machine.
        echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
    fi
done
apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends "$@"
