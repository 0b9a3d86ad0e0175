package talosconfig

import (
	"bytes"
	"fmt"
	"regexp"
)

// Filesystems returns the file systems that every Talos with user volumes supports.
func Filesystems() []string { return []string{"xfs", "ext4"} }

// Volume is a user volume: a disk that Talos formats and mounts at /var/mnt/<Name>.
type Volume struct {
	Name       string
	Filesystem string
	Serial     string // of the disk; empty: match the disk by its size
	Bytes      int64  // size of the disk
}

type userVolume struct {
	APIVersion   string       `yaml:"apiVersion"`
	Kind         string       `yaml:"kind"`
	Name         string       `yaml:"name"`
	Provisioning provisioning `yaml:"provisioning"`
	Filesystem   struct {
		Type string `yaml:"type"`
	} `yaml:"filesystem"`
}

type provisioning struct {
	DiskSelector struct {
		Match string `yaml:"match"`
	} `yaml:"diskSelector"`
	MinSize string `yaml:"minSize"`
	Grow    bool   `yaml:"grow"`
}

// minSize is smaller than the smallest disk without its partition table, and larger than the minimum of xfs.
const minSize = "512MiB"

// UserVolumes makes the patch with a UserVolumeConfig for each volume, or nil without volumes. Talos supports user volumes from
// 1.10 on.
func UserVolumes(volumes []Volume) ([]byte, error) {
	var documents [][]byte
	for _, v := range volumes {
		document := userVolume{APIVersion: "v1alpha1", Kind: "UserVolumeConfig", Name: v.Name}
		document.Provisioning.DiskSelector.Match = v.match()
		document.Provisioning.MinSize, document.Provisioning.Grow = minSize, true
		document.Filesystem.Type = v.Filesystem
		encoded, err := encode(document)
		if err != nil {
			return nil, err
		}
		documents = append(documents, encoded)
	}
	return bytes.Join(documents, []byte("---\n")), nil
}

// match returns the CEL expression that finds the disk. udev makes these links for VirtIO and AHCI disks of QEMU.
func (v Volume) match() string {
	if v.Serial == "" {
		return fmt.Sprintf("!system_disk && !disk.cdrom && disk.size == %du", v.Bytes)
	}
	return fmt.Sprintf("%q in disk.symlinks || %q in disk.symlinks", "/dev/disk/by-id/virtio-"+v.Serial, "/dev/disk/by-id/ata-QEMU_HARDDISK_"+v.Serial)
}

// The serial of a VirtIO disk has at most 20 bytes; QEMU truncates longer ones.
var serialRE = regexp.MustCompile(`^[A-Za-z0-9_-]{1,20}$`)

// IsSerial reports whether the serial can identify a disk.
func IsSerial(serial string) bool { return serialRE.MatchString(serial) }

var volumeRE = regexp.MustCompile(`^[A-Za-z0-9-]{1,34}$`)

// CheckVolumeName accepts the names that Talos allows for user volumes.
func CheckVolumeName(name string) error {
	if !volumeRE.MatchString(name) {
		return fmt.Errorf("%q cannot be the name of a user volume; allowed are up to 34 letters, digits and hyphens", name)
	}
	return nil
}
