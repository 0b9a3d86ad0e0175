package truenas

import (
	"context"
	"regexp"
)

// replicationOnce holds the parameters of replication.run_onetime for a copy within one NAS.
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
	Encryption bool     `json:"encryption,omitempty"`
	Inherit    *bool    `json:"encryption_inherit,omitempty"`
}

var replicateOnce = method[none]{"replication.run_onetime", job}

// Copy starts to make dataset dst a full copy of a dataset's snapshot, within the NAS. The copy
// shares no blocks with its source. It is complete when it has the snapshot. Its parent must exist,
// and dst must not. Under an encrypted parent the copy has to be encrypted, with the parent's key.
func (s Snapshots) Copy(ctx context.Context, dataset, name, dst string, encrypted bool) (JobID, error) {
	// READONLY "IGNORE" keeps the copy writable: TrueNAS's default is a read-only replica.
	once := replicationOnce{
		Direction: "PUSH", Transport: "LOCAL", Sources: []string{dataset}, Target: dst,
		NameRegex: "^" + regexp.QuoteMeta(name) + "$", Readonly: "IGNORE", Retention: "NONE",
	}
	if encrypted {
		once.Encryption, once.Inherit = true, &encrypted
	}
	return replicateOnce.start(ctx, s.c, once)
}
