// Package landing makes volumes from images.
//
// A [Landing] is one attempt to make a volume of an image at a [Place]: lease the place's staging dataset, upload the image into
// it, have TrueNAS convert the file into the volume, and seal the volume. The [Purpose] of a landing defines the volume's user
// properties and when it is complete. A [Lander] makes landings on one NAS.
//
// [Images] are the images that VMs are cloned from: volumes with the snapshot @ready, prepared in the background, resumed after
// a restart, and removed when they are unused. Imported disks are landings with another purpose.
//
// From a source to a volume:
//
//	Images.Ensure     ready already, in progress, or begin
//	Images.begin      the work in the background: time limit and retries
//	Images.land       one attempt
//	Landing.Fetch     open the source (package disk), then Landing.land and Landing.make
//	Landing.lease     the lease on the staging dataset, with a heartbeat
//	Landing.upload    the image as a file in a dataset of its own: qcow2 as qcow2, a raw disk as a vmdk stream without its zeros
//	Lander.writeVolume  TrueNAS converts the file into the volume
//	Purpose.Seal      the snapshot @ready, or the property that marks an import as complete
package landing
