// Package server implements the provider.v1 RPCs on a TrueNAS.
//
// A [Server] serves the VirtRigaud manager, the Omni adapter and grpcurl. It keeps no state of its own: VM records, datasets,
// snapshots and user properties on the NAS are the state, so a restart loses nothing and two replicas agree. In memory it has a
// copy of the list of VMs ([inventory.Cache]), which events of the NAS keep current.
//
// Three things surprise. The id of a VM is its SMBIOS UUID, derived from the provider's id and the owner's uid or the VM's name
// ([spec.VMID]). Create converges: it completes what an earlier attempt left and creates nothing twice. Handlers return plain
// errors; [Interceptor] gives them their gRPC codes from the one table in status.go.
//
// # From a CreateRequest to vm.create
//
//	create.go          Server.Create       parse, lock the id, observe, plan, converge
//	spec               spec.Parse          the request as a spec.VM, checked without the NAS
//	create_observe.go  Server.observe      one round trip: VMs, datasets and snapshots that matter
//	create_plan.go     Server.plan         the missing objects, or the reason of a refusal; changes nothing
//	create.go          Server.converge     build, verify, and remove the objects of a failed attempt
//	create_build.go    builder.build       the dataset, the record, the disks, the NICs, the seed
//	create_build.go    builder.ensureVM    vm.create
//
// # From an image URL to a volume
//
//	image_prepare.go    Server.ImagePrepare   parse the source (spec.ParseImageJob) and name the image (spec.Image)
//	landing/images.go   Images.Ensure         ready already, in progress, or begin
//	landing/work.go     Images.begin          the work in the background: time limit and retries
//	landing/image.go    Images.land           one attempt
//	landing/lease.go    Landing.lease         the lease on the staging dataset among replicas, with a heartbeat
//	landing/land.go     Landing.Fetch         open the source (package disk), then Landing.land and Landing.make
//	landing/land.go     Landing.upload        the image as a file: qcow2 as qcow2, a raw disk as a vmdk stream without its zeros
//	landing/convert.go  Lander.writeVolume    TrueNAS converts the file into the volume
//	landing/image.go    imagePurpose.Seal     the snapshot @ready, from which VMs are cloned
//
// # File map
//
//	server.go run.go status.go       the service, its background loop, the errors' codes
//	create*.go hardware_*.go         Create: plan, record, disks, NICs, devices
//	choose.go confine.go             the pool of a VM, and its permitted sources
//	boot.go bootsource.go            boot sources: the order of the devices, and a source for one start
//	bootstart.go                     the lock and the steps of a start that uses a boot source
//	delete*.go                       Delete: the objects that belong to a VM, and those that others use
//	power*.go off.go duplicates.go   Power, the proof that a VM is off, and duplicates of two replicas
//	reconfigure*.go                  Reconfigure: compare, then change
//	describe.go list.go overview*.go the views of VMs, for the manager and for the status page
//	snapshot*.go                     snapshots and revert
//	clone*.go                        linked and full clones
//	image_*.go                       images: ImagePrepare, its task, the image of a Create, and ISOs
//	delegated.go                     import, export and facts of disks, and leftovers: see packages diskio and doctor
//	task.go line.go                  tasks, the line of a manager, and extensions of the contract
//	validate.go preflight.go rights.go capabilities.go  the checks of the NAS, of the API key's roles, and the features
//	owner.go                         which VMs may be changed
//
// # Packages
//
// Each imports only packages that come before it, and none imports this one; cmd/internal/layout checks that.
//
//	refusal       errors for callers; listen: serving; disk: image sources and formats
//	settings      hardware settings; spec: requests, names and places; seed: NoCloud images; bootorder: boot sources
//	inventory     the copy of the VM list
//	vmrecord      fields of a VM's record; hardware: a class as fields and devices of a record; media: ISOs in drives
//	destroy       removal of VMs, snapshots and datasets, one object at a time
//	ownership     the owners of VMs, datasets and trees
//	placement     the choice of a pool
//	lease         locks within a process, and leases among replicas
//	background    work that outlives its RPC
//	landing       from an image to a volume, and the prepared images
//	diskio        import and export of disks
//	doctor        leftovers and their removal
//
// Clients of the RPCs: redfish (a BMC for each VM), conformance (the contract as tests).
//
// # Glossary
//
//	artifact     a prepared image that belongs to one VMImage of a manager of line 0.4
//	claim        a dataset or property by which one replica or installation reserves something
//	duplicate    a second NIC or VM record that two replicas made at the same time
//	image        a volume below images/, complete when its snapshot @ready exists
//	installation the user of a tree on the NAS, recorded at the root of the tree
//	landing      one attempt to make a volume of a source
//	lease        the claim of a landing on its staging dataset, renewed by a heartbeat
//	leftover     an object of this provider on the NAS that nothing needs
//	line 0.3/0.4 the manager's versions; requests of line 0.4 have owners with namespaces
//	mark         the text in a VM's description that proves its owner; see [spec.Mark]
//	observation  the state of the NAS before a plan, read in one round trip
//	place        a dataset for additional disks of a VM on another pool than that of its own dataset
//	plan         the steps of a Create or clone
//	source       the origin of an image or a clone
//	staging      the dataset of an upload
package server
