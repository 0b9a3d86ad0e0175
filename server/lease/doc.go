// Package lease keeps calls and replicas from working on the same object at the same time.
//
// [Locks] are for calls of one process. [Leases] are for processes: a lease is a dataset on the NAS, which only one process can
// create and which has the last heartbeat of its holder. When the heartbeat is older than [Leases.Age], the holder counts as
// dead and another process takes over the lease. Uploads go into such datasets as well, so this package also handles the
// folders that an upload leaves when its dataset is destroyed before it ends; see [FolderFor].
package lease
