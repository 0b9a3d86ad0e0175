package spec

import (
	"strings"

	"virtrigaud-provider-truenas/server/refusal"
)

// CheckSnapshotID refuses ids that SnapshotCreate cannot have returned.
func CheckSnapshotID(id string) error {
	if id == "" || len(id) > MaxNASName || strings.ContainsAny(id, "/@ ") {
		return refusal.InvalidArgument("snapshot_id", "%q is not a snapshot id", id)
	}
	return nil
}
