import type { MarkdownOptions } from 'vitepress'

type MarkdownIt = Parameters<NonNullable<MarkdownOptions['config']>>[0]

export const markdown: MarkdownOptions = {
  // The default ones are too pale where comments stand on the block's grey.
  theme: { light: 'github-light-high-contrast', dark: 'github-dark-high-contrast' },
  config(md) {
    diagrams(md)
    fences(md)
    inlineCode(md)
  },
}

// diagrams puts each SVG that a page includes into a figure that scrolls by itself where
// the page is narrower than its text can be read. Inlined, a diagram follows the theme.
function diagrams(md: MarkdownIt) {
  md.core.ruler.before('normalize', 'diagrams', (state) => {
    const missing = state.src.match(/^<!--\s*@include:\s*(.*?)\s*-->$/m)
    if (missing) {
      throw new Error(`${state.env.path ?? 'a page'} includes ${missing[1]}, which can't be read: mend the path`)
    }
    state.src = state.src.replace(/^<svg\b[^]*?^<\/svg>[ \t]*$/gm, figure)
  })
}

function figure(svg: string): string {
  const width = svg.match(/\bviewBox="0 0 (\d+)/)?.[1]
  if (!width) {
    throw new Error(`a diagram has no viewBox="0 0 WIDTH HEIGHT": ${svg.slice(0, 80)}`)
  }
  // An empty line would end the block of HTML, and markdown would read the rest.
  const lines = svg.split('\n').filter((line) => line.trim() !== '')
  return `\n<figure v-pre class="diagram" tabindex="0" style="--diagram-width: ${width}px">\n${lines.join('\n')}\n</figure>\n`
}

// inlineCode keeps Vue from reading {{ }} in backticks, as VitePress does in blocks.
function inlineCode(md: MarkdownIt) {
  md.core.ruler.push('inline-code', (state) => {
    for (const token of state.tokens) {
      for (const child of token.children ?? []) {
        if (child.type === 'code_inline') child.attrSet('v-pre', '')
      }
    }
  })
}

// fences reads what a page says behind a block's language: a file's name in brackets,
// which VitePress shows in groups of blocks alone, and words for the tests of blocks.
function fences(md: MarkdownIt) {
  md.core.ruler.push('fences', (state) => {
    let groups = 0
    for (const token of state.tokens) {
      if (token.type === 'container_code-group_open') groups++
      if (token.type === 'container_code-group_close') groups--
      if (token.type !== 'fence' || groups > 0) continue
      const file = token.info.match(/\[(.*)\]/)?.[1]
      if (file) token.meta = { ...token.meta, file }
      token.info = token.info.replace(/\s*\[.*\]/, '').replace(/\s+[^{\s].*$/, '')
    }
  })

  const fence = md.renderer.rules.fence!
  md.renderer.rules.fence = (tokens, idx, ...rest) => {
    const block = fence(tokens, idx, ...rest)
    const file = tokens[idx].meta?.file
    return file ? `<div class="code-file"><p class="code-file-name">${md.utils.escapeHtml(file)}</p>${block}</div>` : block
  }
}
