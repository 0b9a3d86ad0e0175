#!/bin/sh
# Makes a user, a privilege and an API key for a provider. Copy this script to the NAS and run it as root, for example in System,
# Shell. It prints the key once; the key is stored nowhere else.
#
#   sh api-key.sh virtrigaud                  all that needs no FULL_ADMIN: VMs of images on the NAS, snapshots, clones
#   sh api-key.sh virtrigaud FULL_ADMIN       everything: cloud-init data, images from URLs, export and import of disks; Omni
#   sh api-key.sh virtrigaud ROLE...          only these; docs/roles.md lists the roles of each feature
#
# The variable EXPIRES=2027-01-31 sets the expiry of the key. The script reuses existing objects and replaces the roles of the
# privilege, so run it again to change the roles.
set -eu

user=${1:?"usage: sh api-key.sh USER [ROLE...]"}
shift
case $user in
*[!a-z0-9_-]*) echo "api-key.sh: $user: only a-z, 0-9, _ and - are allowed" >&2 && exit 2 ;;
esac
[ $# -gt 0 ] || set -- VM_WRITE VM_DEVICE_WRITE DATASET_WRITE SNAPSHOT_WRITE REPLICATION_TASK_WRITE NETWORK_INTERFACE_READ FILESYSTEM_ATTRS_READ POOL_READ DISK_READ

roles=
for role in "$@"; do
	case $role in
	*[!A-Z_]*) echo "api-key.sh: $role is not the name of a role" >&2 && exit 2 ;;
	esac
	roles="$roles${roles:+, }\"$role\""
done

# field prints a field of the first row of a list, or nothing.
field() {
	python3 -c 'import json, sys; rows = json.load(sys.stdin); print(rows[0][sys.argv[1]] if rows else "")' "$1"
}

[ -n "$(midclt call group.query "[[\"name\", \"=\", \"$user\"]]" | field id)" ] ||
	midclt call group.create "{\"name\": \"$user\", \"smb\": false}" >/dev/null
group=$(midclt call group.query "[[\"name\", \"=\", \"$user\"]]" | field id)
gid=$(midclt call group.query "[[\"name\", \"=\", \"$user\"]]" | field gid)

# This user can log in only with the key: it has no password, no shell and no home.
[ -n "$(midclt call user.query "[[\"username\", \"=\", \"$user\"]]" | field id)" ] ||
	midclt call user.create "{\"username\": \"$user\", \"full_name\": \"VM provider\", \"group\": $group, \"password_disabled\": true,
		\"smb\": false, \"home\": \"/var/empty\", \"shell\": \"/usr/sbin/nologin\"}" >/dev/null

privilege=$(midclt call privilege.query "[[\"name\", \"=\", \"$user\"]]" | field id)
rights="\"name\": \"$user\", \"local_groups\": [$gid], \"roles\": [$roles], \"web_shell\": false"
if [ -n "$privilege" ]; then
	midclt call privilege.update "$privilege" "{$rights}" >/dev/null
else
	midclt call privilege.create "{$rights}" >/dev/null
fi

expires=null
[ -z "${EXPIRES:-}" ] || expires="{\"\$date\": $(($(date -u -d "$EXPIRES" +%s) * 1000))}"
echo "username: $user"
midclt call api_key.create "{\"name\": \"$user-$(date -u +%Y%m%d-%H%M%S)\", \"username\": \"$user\", \"expires_at\": $expires}" |
	python3 -c 'import json, sys; print("api_key: " + json.load(sys.stdin)["key"])'
