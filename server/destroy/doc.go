// Package destroy removes VMs, devices, snapshots and datasets from the NAS, and never objects of another owner.
//
// [Dataset] removes a dataset with its contents. Each call to the NAS destroys a single object and is never recursive, so that
// ZFS refuses a removal that a clone, a hold or a child depends on; see [Dataset] for the reasons. [Survey] reads the contents
// of some datasets and their dependents, for callers that have to decide before they remove anything.
//
// An absent object counts as removed. TrueNAS also returns "does not exist" when it fails to find another object during the
// call, so that error counts only if the object is absent from the list, too; see [truenas.ErrBusy] for the other case.
package destroy
