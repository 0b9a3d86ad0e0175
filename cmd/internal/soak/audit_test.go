package soak

import (
	"fmt"
	"slices"
	"strings"
)

// audit compares the NAS with the expectations of all workers and Omni. No operations or faults are in progress.
func (w *world) audit() {
	w.t.Helper()
	if w.stopped() {
		return
	}
	v := w.look()
	wrong := append(w.touched(v), v.broken()...)
	names := map[string]bool{}    // expected VMs
	datasets := map[string]bool{} // expected datasets and their children
	for _, vm := range w.foreign.VMs {
		names[vm.Name] = true
	}
	for _, d := range w.foreign.Datasets {
		datasets[d.Name] = true
	}
	for _, k := range w.workers {
		for _, m := range k.machines {
			if !m.exists() {
				continue
			}
			wrong = append(wrong, v.differs(m, true)...)
			k.checkContent(m)
			names[m.onNAS()] = true
			names[m.byHand.copied] = true
			for _, d := range v.Datasets {
				if m.besideDisks(d.Name) {
					datasets[d.Name] = true
				}
			}
			for _, name := range append(append(m.trees(), m.home()), m.volumes()...) {
				datasets[name] = true
			}
		}
	}
	for _, m := range []string{anchor + "east", anchor + "west"} {
		names[onNAS(m)] = true
		datasets[root+"/vms/"+onNAS(m)], datasets[root+"/vms/"+onNAS(m)+"/root"] = true, true
	}
	wrong = append(wrong, w.omni.audit(v, names, datasets)...)
	for _, vm := range v.VMs {
		if !names[vm.Name] {
			wrong = append(wrong, fmt.Sprintf("VM %s has no owner", vm.Name))
		}
	}
	wrong = append(wrong, v.leftDatasets(datasets)...)
	wrong = append(wrong, v.leftSnapshots(w)...)
	for _, text := range wrong {
		w.violated("seed %d, after a round: %s", w.seed, text)
	}
}

// leftDatasets lists unused datasets.
func (v view) leftDatasets(used map[string]bool) (wrong []string) {
	for _, d := range v.Datasets {
		folder := slices.Contains([]string{"tank", root, root + "/vms", root + "/images", root + "/imports", root + "/staging"}, d.Name)
		if used[d.Name] || folder {
			continue
		}
		if key, ok := strings.CutPrefix(d.Name, root+"/images/"); ok {
			image, below, _ := strings.Cut(key, "/")
			if below == "disk" || below == "" && v.ready(d.Name) {
				continue
			}
			wrong = append(wrong, fmt.Sprintf("image %s is incomplete", image))
			continue
		}
		wrong = append(wrong, fmt.Sprintf("dataset %s is left behind", d.Name))
	}
	return wrong
}

func (v view) ready(image string) bool {
	for _, s := range v.Snapshots {
		if s.ID == image+"/disk@ready" {
			return true
		}
	}
	return false
}

// leftSnapshots lists snapshots without clones that no client created. Other checks cover the snapshots on the volumes of
// existing VMs.
func (v view) leftSnapshots(w *world) (wrong []string) {
	known := map[string]bool{}
	for _, s := range w.foreign.Snapshots {
		known[s.ID] = true
	}
	for _, k := range w.workers {
		for _, m := range k.machines {
			for _, s := range v.Snapshots {
				known[s.ID] = known[s.ID] || m.ofOthers(s.ID)
			}
			for _, mark := range m.asked() {
				for _, name := range append(m.trees(), mark.disks...) {
					known[name+"@"+mark.name] = true
				}
			}
		}
	}
	origins := map[string]bool{}
	for _, d := range v.Datasets {
		origins[d.Origin] = true
	}
	for _, s := range v.Snapshots {
		dataset, name, _ := strings.Cut(s.ID, "@")
		switch {
		case known[s.ID], origins[s.ID], name == "ready" && strings.HasPrefix(dataset, root+"/images/"):
		case strings.HasPrefix(name, "vrclone-") && v.usedBelow(dataset, name):
		default:
			wrong = append(wrong, fmt.Sprintf("snapshot %s is left behind", s.ID))
		}
	}
	return wrong
}

// usedBelow reports whether a clone depends on one of the recursive snapshots with this name below a dataset.
func (v view) usedBelow(dataset, name string) bool {
	for _, d := range v.Datasets {
		tree := dataset
		if v.datasets[dataset].Volume {
			tree = dataset[:strings.LastIndex(dataset, "/")]
		}
		if strings.HasPrefix(d.Origin, tree+"/") && strings.HasSuffix(d.Origin, "@"+name) {
			return true
		}
	}
	return false
}
