// Package lease keeps calls and replicas from working on the same thing at the same time.
//
// [Locks] are for calls of one process. [Leases] are for processes: a lease is a dataset on the NAS, which one process can make
// and which has the last sign of life of its holder. When that is older than [Leases.Age], the holder counts as dead and another
// process takes the lease over. Uploads go into such datasets as well, so this package also knows the folders that an upload
// leaves when its dataset is destroyed before it ends; see [FolderFor].
package lease
