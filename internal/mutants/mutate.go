package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
)

// mutant is one change of one file that still has a chance to compile.
type mutant struct {
	file       string // relative to the module, with slashes
	function   string // Values, or flight.run; empty for a declaration outside of functions
	from, to   int    // the bytes that are replaced
	old, with  string
	change     string // what is changed, in one line
	line       int
	occurrence int // counts the mutants of the file that are otherwise called the same
}

// name identifies a mutant, whatever lines are added or taken away elsewhere.
func (m *mutant) name() string {
	name := m.file + ": " + m.function + ": " + m.change
	if m.occurrence > 1 {
		name += fmt.Sprintf(" (%d)", m.occurrence)
	}
	return name
}

// rank is where a seed puts the mutant among all.
func (m *mutant) rank(seed uint64) uint64 {
	h := sha256.Sum256(fmt.Appendf(nil, "%d %s", seed, m.name()))
	return binary.BigEndian.Uint64(h[:])
}

// apply returns the source of the file with the change in it.
func (m *mutant) apply(source []byte) []byte {
	changed := make([]byte, 0, len(source)+len(m.with))
	changed = append(changed, source[:m.from]...)
	changed = append(changed, m.with...)
	return append(changed, source[m.to:]...)
}

// finder collects the mutants of a file.
type finder struct {
	file     string
	source   []byte
	set      *token.FileSet
	function string
	results  [][]string // the types of the results of the functions around the node, as they are written
	found    []*mutant
}

// find returns the mutants of a file in the order in which they stand there. What is
// generated has none.
func find(file string, source []byte) ([]*mutant, error) {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, file, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if ast.IsGenerated(tree) {
		return nil, nil
	}
	f := &finder{file: file, source: source, set: set}
	for _, declaration := range tree.Decls {
		if function, ok := declaration.(*ast.FuncDecl); ok {
			if function.Body == nil {
				continue
			}
			f.function = functionName(function)
			f.inFunction(function.Type, function.Body)
			continue
		}
		f.function = "-"
		ast.Walk(f, declaration)
	}
	seen := map[string]int{}
	for _, m := range f.found {
		name := m.name()
		seen[name]++
		m.occurrence = seen[name]
	}
	return f.found, nil
}

func functionName(function *ast.FuncDecl) string {
	if function.Recv == nil || len(function.Recv.List) == 0 {
		return function.Name.Name
	}
	receiver := function.Recv.List[0].Type
	for {
		switch node := receiver.(type) {
		case *ast.StarExpr:
			receiver = node.X
		case *ast.IndexExpr:
			receiver = node.X
		case *ast.IndexListExpr:
			receiver = node.X
		case *ast.Ident:
			return node.Name + "." + function.Name.Name
		default:
			return function.Name.Name
		}
	}
}

func (f *finder) inFunction(signature *ast.FuncType, body *ast.BlockStmt) {
	var results []string
	if signature.Results != nil {
		for _, field := range signature.Results.List {
			for range max(1, len(field.Names)) {
				results = append(results, f.text(field.Type))
			}
		}
	}
	f.results = append(f.results, results)
	ast.Walk(f, body)
	f.results = f.results[:len(f.results)-1]
}

// Visit makes the mutants of a node.
func (f *finder) Visit(node ast.Node) ast.Visitor {
	switch node := node.(type) {
	case *ast.FuncLit:
		f.inFunction(node.Type, node.Body)
		return nil
	case *ast.ImportSpec, *ast.FuncType, *ast.StructType, *ast.InterfaceType, *ast.ArrayType:
		return nil // a type is checked by the compiler
	case *ast.IfStmt:
		f.condition(node)
	case *ast.CaseClause:
		f.clause(node)
	case *ast.CommClause:
		f.empty(node.Body)
	case *ast.BinaryExpr:
		f.operator(node)
	case *ast.BasicLit:
		f.constant(node)
	case *ast.Ident:
		f.boolean(node)
	case *ast.CallExpr:
		if isCapacity(node) {
			return nil
		}
	case *ast.ReturnStmt:
		f.returned(node)
	case *ast.AssignStmt:
		if node.Tok != token.DEFINE {
			f.remove(node)
		}
	case *ast.ExprStmt, *ast.IncDecStmt, *ast.DeferStmt, *ast.GoStmt, *ast.SendStmt:
		f.remove(node)
	case *ast.BranchStmt:
		if node.Tok == token.BREAK || node.Tok == token.CONTINUE {
			f.remove(node)
		}
	case *ast.SwitchStmt:
		f.cases(node)
		return nil
	}
	return f
}

func (f *finder) offset(pos token.Pos) int { return f.set.Position(pos).Offset }

func (f *finder) text(node span) string {
	return string(f.source[f.offset(node.Pos()):f.offset(node.End())])
}

// mostShown bounds, in bytes, how much of a piece of code is in the name of a mutant.
const mostShown = 100

func shorten(code string) string {
	code = strings.Join(strings.Fields(code), " ")
	if len(code) > mostShown {
		return strings.ToValidUTF8(code[:mostShown], "") + "…"
	}
	return code
}

// replace notes a mutant, unless it is a statement in a place where no block may stand.
func (f *finder) replace(change string, node span, with string) {
	m := &mutant{
		file: f.file, function: f.function, change: change, with: with,
		from: f.offset(node.Pos()), to: f.offset(node.End()), line: f.set.Position(node.Pos()).Line,
	}
	m.old = string(f.source[m.from:m.to])
	if _, err := parser.ParseFile(token.NewFileSet(), f.file, m.apply(f.source), parser.SkipObjectResolution); err == nil {
		f.found = append(f.found, m)
	}
}

// span is a node, or several in a row.
type span interface {
	Pos() token.Pos
	End() token.Pos
}

type statements []ast.Stmt

func (s statements) Pos() token.Pos { return s[0].Pos() }
func (s statements) End() token.Pos { return s[len(s)-1].End() }

// unreached is code that nothing reaches, so that what it uses stays used.
func unreached(code string) string { return "if false {\n" + code + "\n}" }

// becomes is how a mutant is called that has other code in the place of some.
func becomes(old, with string) string { return shorten(old) + " => " + shorten(with) }
