package server

import (
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// A feature is a function of the provider, by its name in the documentation.
type feature string

const (
	seeVMs       feature = "See VMs"
	seeDisks     feature = "View disks"
	powerVMs     feature = "Power VMs on and off"
	bootVMs      feature = "Power on VMs that boot the network or a CD-ROM"
	insertFiles  feature = "Insert ISOs on the NAS"
	deleteVMs    feature = "Delete VMs"
	makeVMs      feature = "Create and reconfigure VMs"
	makeOfImages feature = "Create VMs from images and snapshots on the NAS"
	tagNetworks  feature = "Networks with a VLAN tag"
	snapshotVMs  feature = "Snapshots"
	cloneVMs     feature = "Linked clones, and Delete of clones and their sources"
	copyVMs      feature = "Full clones"
	seedVMs      feature = "Cloud-init data and static addresses"
	fetchImages  feature = "Images from URLs"
	moveDisks    feature = "Export and import of disks"
	choosePools  feature = "Choose the pool of VMs and images"
	judgeDisks   feature = "Choose the pool by its kind"
)

// roleUpload is the role that TrueNAS requires for uploads and downloads of files.
const roleUpload = fullAdmin

const fullAdmin = "FULL_ADMIN"

// rolesOf lists the roles that each feature needs: the user of the API key must have all of them. A role that ends in _WRITE
// includes the one that ends in _READ, and FULL_ADMIN includes all.
var rolesOf = map[feature][]string{
	seeVMs:       {"VM_READ", "DATASET_READ"},
	seeDisks:     {"VM_READ", "DATASET_READ", "SNAPSHOT_READ"},
	powerVMs:     {"VM_WRITE"},
	bootVMs:      {"VM_WRITE", "VM_DEVICE_WRITE", "DATASET_WRITE"},
	insertFiles:  {"VM_WRITE", "VM_DEVICE_WRITE", "DATASET_WRITE", "FILESYSTEM_ATTRS_READ"},
	deleteVMs:    {"VM_WRITE", "DATASET_WRITE", "SNAPSHOT_WRITE"},
	makeVMs:      {"VM_WRITE", "VM_DEVICE_WRITE", "DATASET_WRITE"},
	makeOfImages: {"VM_WRITE", "VM_DEVICE_WRITE", "DATASET_WRITE", "SNAPSHOT_READ"},
	tagNetworks:  {"VM_WRITE", "VM_DEVICE_WRITE", "DATASET_WRITE", "NETWORK_INTERFACE_READ"},
	snapshotVMs:  {"VM_READ", "DATASET_READ", "SNAPSHOT_WRITE"},
	cloneVMs:     {"VM_WRITE", "VM_DEVICE_WRITE", "DATASET_WRITE", "SNAPSHOT_WRITE"},
	copyVMs:      {"VM_WRITE", "VM_DEVICE_WRITE", "DATASET_WRITE", "SNAPSHOT_WRITE", "REPLICATION_TASK_WRITE"},
	seedVMs:      {roleUpload},
	fetchImages:  {roleUpload},
	moveDisks:    {roleUpload},
	choosePools:  {"VM_WRITE", "VM_DEVICE_WRITE", "DATASET_WRITE", "POOL_READ"},
	judgeDisks:   {"VM_WRITE", "VM_DEVICE_WRITE", "DATASET_WRITE", "POOL_READ", "DISK_READ"},
}

// earlyRoles are the roles on 25.04.2 where they differ: that release has no role for the clone of a snapshot, the rollback to one,
// and the job that copies a disk. A snapshot is useless without the rollback, so that snapshotVMs needs the role of the rollback.
var earlyRoles = map[feature][]string{
	makeOfImages: {fullAdmin},
	snapshotVMs:  {fullAdmin},
	cloneVMs:     {fullAdmin},
	copyVMs:      {fullAdmin},
}

// rolesOn returns the roles that a feature needs on a release.
func rolesOn(release truenas.Release, f feature) []string {
	if early, ok := earlyRoles[f]; ok && !release.IsZero() && !release.AtLeast(truenas.R25_10) {
		return early
	}
	return rolesOf[f]
}

// featureOf returns the feature that a request needs by its type. The handler checks features that depend on its contents.
func featureOf(req any) feature {
	switch req := req.(type) {
	case *providerv1.DescribeRequest, *providerv1.ListVMsRequest:
		return seeVMs
	case *providerv1.GetDiskInfoRequest:
		return seeDisks
	case *providerv1.PowerRequest:
		return powerVMs
	case *providerv1.DeleteRequest:
		return deleteVMs
	case *providerv1.CreateRequest, *providerv1.ReconfigureRequest:
		return makeVMs
	case *providerv1.SnapshotCreateRequest, *providerv1.SnapshotRevertRequest, *providerv1.SnapshotDeleteRequest:
		return snapshotVMs
	case *providerv1.CloneRequest:
		if req.GetLinked() {
			return cloneVMs
		}
		return copyVMs
	}
	return ""
}

// lacking returns the roles that a feature needs and the key does not have. While the roles of the key are unknown it returns none,
// and the NAS itself refuses the call.
func (s *Server) lacking(f feature) []string {
	held := s.nas.Status().Roles
	if len(held) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(rolesOn(s.nas.Release(), f)), func(role string) bool { return truenas.Holds(held, role) })
}

func (s *Server) may(f feature) bool { return len(s.lacking(f)) == 0 }

// permit refuses a feature for which the key lacks roles, before the first change.
func (s *Server) permit(f feature) error {
	if lacking := s.lacking(f); len(lacking) > 0 {
		return refusal.New(codes.PermissionDenied, "%s: the user of the API key needs %s in TrueNAS", f, roleList(lacking))
	}
	return nil
}

// permitParts refuses a VM with parts that need more roles than the key has.
func (s *Server) permitParts(want spec.VM) error {
	if want.Image.Kind == spec.ImageClone {
		if err := s.permit(makeOfImages); err != nil {
			return err
		}
	}
	if tagged(want.Networks) {
		return s.permit(tagNetworks)
	}
	return nil
}

func roleList(roles []string) string {
	if len(roles) == 1 {
		return "the role " + roles[0]
	}
	return "the roles " + strings.Join(roles, ", ")
}

// mayUpload reports whether the key may upload and download files.
func (s *Server) mayUpload() bool { return s.may(fetchImages) }

// needUpload refuses an operation that needs an upload, before the first change, when the key may not upload.
func (s *Server) needUpload(field string) error {
	if s.mayUpload() {
		return nil
	}
	return refusal.New(codes.PermissionDenied, "%s: needs files to be moved to or from the NAS, which TrueNAS allows only a key with the role %s", field, roleUpload)
}

// Seeds is the feature to require of [Server.Preflight] when every VM needs a seed, as machines of Omni do.
const Seeds = seedVMs

// features are those of [rolesOf] in the order of the documentation.
var features = []feature{seeVMs, seeDisks, powerVMs, bootVMs, insertFiles, deleteVMs, makeVMs, makeOfImages, tagNetworks, snapshotVMs, cloneVMs, copyVMs, seedVMs, fetchImages, moveDisks, choosePools, judgeDisks}

// basic are the features without which a provider is useless.
var basic = []feature{seeVMs, powerVMs, deleteVMs, makeVMs}

// rightsFindings compares the roles of the key with the features. The provider does not advertise an optional feature
// that the key has no roles for, and refuses its calls.
func (s *Server) rightsFindings(needed []feature) []Finding {
	used := slices.DeleteFunc(slices.Clone(features), func(f feature) bool { return s.idle(f) })
	if !slices.ContainsFunc(used, func(f feature) bool { return !s.may(f) }) {
		return []Finding{{About: "rights", Found: "enough for every feature"}}
	}
	if s.chooses() {
		needed = append(slices.Clone(needed), s.choosing())
	}
	var found []Finding
	for _, f := range used {
		line := Finding{About: "rights", Found: string(f)}
		if lacking := s.lacking(f); len(lacking) > 0 {
			line.Verdict, line.Found = Partly, string(f)+": not allowed"
			line.Advice = "to use it, give the user of the API key " + roleList(lacking)
			if slices.Contains(basic, f) || slices.Contains(needed, f) {
				line.Verdict, line.Advice = Prevent, "give the user of the API key "+roleList(lacking)
			}
		}
		found = append(found, line)
	}
	return found
}

// idle reports whether the settings do not use a feature.
func (s *Server) idle(f feature) bool {
	return (f == choosePools || f == judgeDisks) && (!s.chooses() || f != s.choosing())
}
