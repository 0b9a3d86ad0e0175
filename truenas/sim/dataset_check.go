package sim

import "math"

// checkUnions checks the parameters with a union type against both types.
func checkUnions(p *datasetParams, at string, v *invalid) {
	for name, n := range map[string]*int64{"quota": p.Quota, "refquota": p.Refquota} {
		if n != nil && *n != 0 && *n < 1<<30 {
			v.add(at+"."+name, eINVAL, "Input should be greater than or equal to 1073741824")
		}
	}
	for name, value := range map[string]any{
		"quota_warning": p.QuotaWarning, "quota_critical": p.QuotaCritical,
		"refquota_warning": p.RefquotaWarning, "refquota_critical": p.RefquotaCritical,
	} {
		checkInheritable(at+"."+name, value, 0, 100, v)
	}
	checkInheritable(at+".special_small_block_size", p.SpecialSmallBlock, math.MinInt64, math.MaxInt64, v)
	checkInheritable(at+".copies", p.Copies, math.MinInt64, math.MaxInt64, v)
}

// unset is the value of an omitted parameter, which differs from null.
type unset struct{}

// checkInheritable requires a whole number within limits, or "INHERIT".
func checkInheritable(at string, value any, lowest, highest float64, v *invalid) {
	n, number := value.(float64)
	switch {
	case value == unset{} || value == "INHERIT":
	case !number || n != math.Trunc(n):
		v.add(at, eINVAL, "Input should be a valid integer or 'INHERIT'")
	case n < lowest || n > highest:
		v.add(at, eINVAL, "Input should be between %.0f and %.0f", lowest, highest)
	}
}

// blankDataset returns parameters that are all unset.
func blankDataset() datasetParams {
	return datasetParams{
		QuotaWarning: unset{}, QuotaCritical: unset{}, RefquotaWarning: unset{}, RefquotaCritical: unset{},
		SpecialSmallBlock: unset{}, Copies: unset{},
	}
}
