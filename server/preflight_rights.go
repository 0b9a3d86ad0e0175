package server

import (
	"slices"
)

// Seeds is a feature to ask [Server.Preflight] for where every VM has to be told something when it
// starts for the first time, as those of Omni do.
const Seeds = seedVMs

// features are those of [rolesOf] in the order of the documentation.
var features = []feature{seeVMs, seeDisks, powerVMs, bootVMs, deleteVMs, makeVMs, makeOfImages, tagNetworks, snapshotVMs, cloneVMs, copyVMs, seedVMs, fetchImages, moveDisks, choosePools, judgeDisks}

// basic are the features without which a provider is of no use.
var basic = []feature{seeVMs, powerVMs, deleteVMs, makeVMs}

// tellRights holds the roles of the key against the features. A feature that is not needed and that
// the key has no roles for is not advertised, and refused by name.
func (s *Server) tellRights(needed []feature) []Finding {
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
			line.Advice = "where this is wanted, give the user of the API key " + roleList(lacking)
			if slices.Contains(basic, f) || slices.Contains(needed, f) {
				line.Verdict, line.Advice = Prevent, "give the user of the API key "+roleList(lacking)
			}
		}
		found = append(found, line)
	}
	return found
}

// idle reports whether the settings make no use of a feature.
func (s *Server) idle(f feature) bool {
	return (f == choosePools || f == judgeDisks) && (!s.chooses() || f != s.choosing())
}
