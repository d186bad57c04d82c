package models

import (
	"fmt"

	"github.com/unisondb/unisondb/dbkernel"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// toProto is a position as plugins get it; nil where it is none.
func toProto(p dbkernel.Position) *pluginv1.Position {
	if p.Lineage.IsZero() {
		return nil
	}
	return &pluginv1.Position{Lineage: p.Lineage.String(), Epoch: p.Epoch, Lsn: p.LSN}
}

// fromProto is the zero position where there is none.
func fromProto(p *pluginv1.Position) (dbkernel.Position, error) {
	if p.GetLineage() == "" {
		return dbkernel.Position{}, nil
	}
	lineage, err := dbkernel.ParseLineage(p.GetLineage())
	if err != nil {
		return dbkernel.Position{}, fmt.Errorf("a position: %w", err)
	}
	return dbkernel.Position{Lineage: lineage, Epoch: p.GetEpoch(), LSN: p.GetLsn()}, nil
}
