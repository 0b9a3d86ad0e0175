package server_test

import (
	"strings"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// Formats and backends of migrations, supported or not.
var (
	diskFormats  = []string{"qcow2", "vmdk", "raw", "vdi", "vhdx", "vhd"}
	diskBackends = []string{"s3", "pvc", "nfs"}
	diskModes    = []string{"relay", "direct"}
)

func imageAbilities() []ability {
	return []ability{
		{rpc: "ImagePrepare", flag: "supports_image_import", try: func(s *stand) error {
			got, err := prepare(s.t, s.client, s.web.job(s.web.checksum()))
			return s.over(got.GetTask(), err)
		}},
		{rpc: "ImagePrepare", what: "for one VMImage", flag: "supports_image_artifact_identity", try: func(s *stand) error {
			got, err := s.client.ImagePrepare(background, &providerv1.ImagePrepareRequest{
				ImageJson: s.web.job(s.web.checksum()), SourceDigest: "sha256:" + strings.Repeat("0", 64),
				Image: &providerv1.ObjectIdentity{Uid: "11111111-2222-3333-4444-555555555555", Namespace: "team-a", Name: s.name()},
			})
			return s.over(got.GetTask(), err)
		}},
		{rpc: "GetDiskInfo", try: func(s *stand) error {
			got, err := s.client.GetDiskInfo(background, &providerv1.GetDiskInfoRequest{VmId: s.hand})
			return answered(got.GetVirtualSizeBytes() == 4<<20, got, err)
		}},
	}
}

func exportAbilities() []ability {
	export := func(s *stand, backend, format string, change func(*providerv1.ExportDiskRequest)) error {
		req := s.depot.exportOf(s.hand, backend, s.name(), format)
		change(req)
		got, err := s.client.ExportDisk(background, req)
		return answered(got.GetChecksum() != "", got, s.over(got.GetTask(), err))
	}
	as := func(*providerv1.ExportDiskRequest) {}
	all := []ability{
		{rpc: "ExportDisk", flag: "supports_disk_export", try: func(s *stand) error { return export(s, "s3", "", as) }},
		{rpc: "ExportDisk", what: "compressed", flag: "supports_export_compression", try: func(s *stand) error {
			return export(s, "s3", "qcow2", func(r *providerv1.ExportDiskRequest) { r.Compress = true })
		}},
	}
	all = append(all, lists("ExportDisk", "as", "supported_export_formats", diskFormats, func(s *stand, format string) error {
		return export(s, "s3", format, as)
	})...)
	all = append(all, lists("ExportDisk", "to", "supported_export_backends", diskBackends, func(s *stand, backend string) error {
		return export(s, backend, "qcow2", as)
	})...)
	return append(all, lists("ExportDisk", "by", "supported_transfer_modes", diskModes, func(s *stand, mode string) error {
		return export(s, "s3", "qcow2", func(r *providerv1.ExportDiskRequest) { r.TransferMode = mode })
	})...)
}

func importAbilities() []ability {
	bring := func(s *stand, backend, format string) error {
		got, err := s.client.ImportDisk(background, s.depot.importOf(backend, "staged."+format, format, s.name(), s.staged[format]))
		return answered(got.GetPath() != "", got, s.over(got.GetTask(), err))
	}
	all := []ability{{rpc: "ImportDisk", flag: "supports_disk_import", try: func(s *stand) error { return bring(s, "s3", "qcow2") }}}
	all = append(all, lists("ImportDisk", "as", "supported_import_formats", diskFormats, func(s *stand, format string) error {
		return bring(s, "s3", format)
	})...)
	return append(all, lists("ImportDisk", "from", "supported_import_backends", diskBackends, func(s *stand, backend string) error {
		return bring(s, backend, "qcow2")
	})...)
}
