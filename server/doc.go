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
//	create_plan.go     Server.plan         what is missing, or why the request is refused; changes nothing
//	create.go          Server.converge     build, verify, and remove what this attempt made when it fails
//	create_build.go    builder.build       the dataset, the record, the disks, the NICs, the seed
//	create_build.go    builder.ensureVM    vm.create
//
// # From an image URL to a volume
//
//	image_prepare.go   Server.ImagePrepare   parse the source (spec.ParseImageJob) and name the image (spec.Image)
//	image_prepare.go   Server.ensureImage    ready already, in progress, or begin
//	image_work.go      preparations.begin    the work in the background: time limit and retries
//	image_land.go      Server.land           one attempt
//	lease.go           landing.lease         the lock of the staging dataset among replicas, with a heartbeat
//	land.go            landing.fetch         open the source (package disk), then landing.land and landing.make
//	land.go            landing.upload        the disk as a qcow2 file in the staging dataset
//	land_convert.go    Server.convert        TrueNAS converts the file into the volume
//	image_land.go      imagePurpose.seal     the snapshot @ready, from which VMs are cloned
//
// # File map
//
//	server.go run.go status.go      the service, its background loop, the errors' codes
//	create*.go hardware*.go mac.go  Create: plan, record, disks, NICs, hardware settings
//	boot.go bootsource.go           what a VM boots: the order of its devices, and a source for one start
//	delete*.go destroy*.go          Delete: what goes, what others use, how datasets are destroyed
//	power*.go off.go                Power, and the proof that a VM is off
//	reconfigure*.go                 Reconfigure: compare, then change
//	describe.go list.go overview*.go the views of VMs, for the manager and for the status page
//	snapshot*.go                    snapshots and revert
//	clone*.go                       linked and full clones
//	image*.go land*.go lease.go     images
//	diskio*.go diskinfo.go          import, export and facts of disks
//	encryption.go                   classes that ask for encrypted disks
//	task.go work.go worktime.go     tasks, and work in the background
//	line.go extension.go            which line a manager is of, and extensions of the contract
//	folder.go vanished.go           what the NAS means by "already exists" and "does not exist"
//	validate.go preflight*.go rights.go capabilities.go  the checks of the NAS, of the API key's roles, and the features
//	owner.go ownership.go installation.go tree.go         whose a VM, a dataset and a tree is
//	lock.go doubles.go duplicates.go confine.go discreet.go  safety among calls, replicas and tenants
//	doctor*.go                      leftovers and their removal
//
// The subpackages: refusal (errors for callers), listen (serving), inventory (the copy of the VM list), spec (requests, names and
// places), settings (hardware settings), bootorder (what a VM boots, always and once), seed (NoCloud images), disk (image sources
// and formats), redfish (the RPCs as a BMC), conformance (the contract as tests).
//
// # Glossary
//
//	artifact     a prepared image that belongs to one VMImage of a manager of line 0.4
//	claim        a dataset or property by which one replica or installation reserves something
//	duplicate    a second NIC or VM record that two replicas made at the same time
//	image        a volume below images/, complete when its snapshot @ready exists
//	installation the provider whose id and dataset a tree on the NAS is marked with
//	landing      one attempt to make a volume of a source
//	lease        the claim of a landing on its staging dataset, renewed by a heartbeat
//	leftover     something of this provider on the NAS that nothing needs
//	line 0.3/0.4 the manager's versions; requests of line 0.4 have owners with namespaces
//	mark         the text in a VM's description that proves whose the VM is; see [spec.Mark]
//	observation  what one round trip found on the NAS before a plan
//	plan         what a Create or clone will do
//	source       where an image or a clone comes from
//	staging      the dataset that an upload lands in
package server
