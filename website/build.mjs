// Builds the site into the folder that is named, by default dist/site.
//
// VitePress bundles into one temporary folder, which two builds at once would take from
// each other; each build has its own here, so that tests may build beside `make site`.
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { build } from 'vitepress'

const root = path.dirname(fileURLToPath(import.meta.url))

await build(root, {
  outDir: path.resolve(process.argv[2] ?? path.join(root, '../dist/site')),
  onAfterConfigResolve(site) {
    site.tempDir = path.join(root, '.vitepress', `.temp-${process.pid}`)
  },
})
