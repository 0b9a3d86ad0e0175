// Package destroy removes VMs, devices, snapshots and datasets from the NAS, and never objects of another owner.
//
// [Dataset] removes a dataset with its contents. Each call to the NAS destroys a single object and is never recursive, so that
// ZFS refuses a removal that a clone, a hold or a child depends on; see [Dataset] for the reasons. [Survey] reads what is in
// some datasets and what depends on it, for callers that have to decide before they remove anything.
//
// An object that does not exist counts as removed. TrueNAS also answers "does not exist" when it fails to find something else
// on the way, so that answer counts only if the object is absent from the list, too; see [truenas.ErrBusy] for the other case.
package destroy
