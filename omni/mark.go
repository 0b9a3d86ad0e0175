package omni

import (
	"cmp"
	"strings"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// reservedTag begins the tags by which the adapter knows its machines again.
const reservedTag = "omni-"

// mark is whose a machine is: this provider's of this Omni.
type mark struct{ provider, origin string }

func (p *Provisioner) mark() mark {
	return mark{provider: p.cfg.ID, origin: cmp.Or(strings.ReplaceAll(p.cfg.Origin, ",", "_"), "omni")}
}

// owner is the uid under which a machine of a request is made: the same request always means the same machine.
func (m mark) owner(request string) string { return "omni/" + m.provider + "/" + request }

func (m mark) tags() []string {
	return []string{reservedTag + "provider=" + m.provider, reservedTag + "at=" + m.origin}
}

// owns reports whether a machine was made for some request of this provider of this Omni. A provider that shows neither owners
// nor tags gives no proof, and then nothing is.
func (m mark) owns(vm *providerv1.VMInfo) bool {
	raw := vm.GetProviderRaw()
	has := map[string]bool{}
	for tag := range strings.SplitSeq(raw["tags"], ",") {
		has[tag] = true
	}
	for _, tag := range m.tags() {
		if !has[tag] {
			return false
		}
	}
	return raw["owner"] == m.owner(vm.GetName())
}

// denies reports whether the data of a machine shows that another client created it.
func (m mark) denies(vm *providerv1.VMInfo) bool {
	raw := vm.GetProviderRaw()
	owner, known := raw["owner"]
	return known && owner != m.owner(vm.GetName()) || raw["managed"] == "false"
}
