package conformance

import (
	"encoding/json"
	"errors"
	"fmt"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// object is a JSON object of which only some keys matter; the others keep their recorded values.
type object map[string]any

// adapt replaces the image, network and pool of a recorded Create by those of the target. It keeps all other recorded fields.
func (p *player) adapt(req *providerv1.CreateRequest) error {
	req.Name = p.c.name(req.GetName())
	for _, part := range []struct {
		text   *string
		change func(object)
	}{
		{&req.ClassJson, p.adaptClass},
		{&req.ImageJson, p.adaptImage},
		{&req.PlacementJson, func(o object) { o["Datastore"] = p.c.target.Pool }},
	} {
		var o object
		if *part.text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(*part.text), &o); err != nil {
			return fmt.Errorf("recorded Create %q: %w", req.GetName(), err)
		}
		part.change(o)
		*part.text = text(o)
	}
	return p.adaptNetworks(req)
}

// adaptClass gives a VM without an image a size, and secure boot the firmware that it needs: the recorded VM requests secure boot
// together with BIOS, which is impossible.
func (p *player) adaptClass(o object) {
	if p.image == "" && o["DiskDefaults"] == nil {
		o["DiskDefaults"] = object{"Type": "thin", "SizeGiB": 1}
	}
	if security, ok := o["SecurityProfile"].(map[string]any); ok && security["SecureBoot"] == true {
		o["Firmware"] = "UEFI"
	}
}

// adaptImage sets the target's image, also for the VM whose VMImage has source.http: the manager prepares such an image and then
// sends an empty image with the format "template".
func (p *player) adaptImage(o object) {
	o["Path"] = p.image
	if p.image == "" || o["Format"] == "template" {
		o["Format"], o["Checksum"] = "", ""
	}
}

func (p *player) adaptNetworks(req *providerv1.CreateRequest) error {
	var nics []object
	if err := json.Unmarshal([]byte(req.GetNetworksJson()), &nics); err != nil {
		return fmt.Errorf("recorded Create %q: %w", req.GetName(), err)
	}
	for _, nic := range nics {
		nic["Bridge"] = p.c.target.Network
	}
	if p.c.target.Network == "" {
		nics = nil
	}
	req.NetworksJson = text(nics)
	return nil
}

// adaptClone gives the clone a name of this run. The keys of its class are in another case than those of a Create.
func (p *player) adaptClone(req *providerv1.CloneRequest) error {
	req.TargetName = p.c.name(req.GetTargetName())
	var o object
	if err := json.Unmarshal([]byte(req.GetClassJson()), &o); err != nil {
		return fmt.Errorf("recorded Clone %q: %w", req.GetTargetName(), err)
	}
	if security, ok := o["securityProfile"].(map[string]any); ok && security["secureBoot"] == true {
		o["firmware"] = "UEFI"
	}
	req.ClassJson = text(o)
	return nil
}

// adaptSource makes an ImagePrepare fetch the target's image, because the recorded URLs never existed. Without a target image the
// request stays unchanged, and cannot succeed.
func (p *player) adaptSource(req *providerv1.ImagePrepareRequest) error {
	if p.c.target.ImageURL == "" {
		return nil
	}
	var job struct{ Source map[string]object }
	var whole object
	if err := errors.Join(json.Unmarshal([]byte(req.GetImageJson()), &job), json.Unmarshal([]byte(req.GetImageJson()), &whole)); err != nil {
		return fmt.Errorf("recorded ImagePrepare %q: %w", req.GetTargetName(), err)
	}
	for _, source := range job.Source {
		source["url"] = p.c.target.ImageURL
		delete(source, "checksum")
		delete(source, "checksumType")
		delete(source, "format")
	}
	whole["source"] = job.Source
	req.ImageJson, req.TargetName = text(whole), p.c.name(req.GetTargetName())
	return nil
}
