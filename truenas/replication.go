package truenas

import (
	"context"
	"regexp"
)

// replicationOnce is what replication.run_onetime takes of a copy inside one NAS.
type replicationOnce struct {
	Direction  string   `json:"direction"`
	Transport  string   `json:"transport"`
	Sources    []string `json:"source_datasets"`
	Target     string   `json:"target_dataset"`
	Recursive  bool     `json:"recursive"`
	NameRegex  string   `json:"name_regex"`
	Properties bool     `json:"properties"`
	Readonly   string   `json:"readonly"`
	Retention  string   `json:"retention_policy"`
}

var replicateOnce = method[none]{"replication.run_onetime", job}

// Copy begins to make dataset dst a full copy of a dataset's snapshot, inside
// the NAS. The copy shares nothing with its source and carries the snapshot; it
// is whole when it does. Its parent has to exist, and itself must not.
func (s Snapshots) Copy(ctx context.Context, dataset, name, dst string) (JobID, error) {
	// READONLY "IGNORE" leaves the copy writable: TrueNAS's default is a replica that nobody writes.
	return replicateOnce.start(ctx, s.c, replicationOnce{
		Direction: "PUSH", Transport: "LOCAL", Sources: []string{dataset}, Target: dst,
		NameRegex: "^" + regexp.QuoteMeta(name) + "$", Readonly: "IGNORE", Retention: "NONE",
	})
}
